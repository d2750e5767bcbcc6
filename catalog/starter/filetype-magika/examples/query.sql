-- invoices above 100
SELECT c.name, SUM(i.total) AS total
FROM invoices AS i
JOIN customers AS c ON c.id = i.customer_id
WHERE i.total > 100
GROUP BY c.name
ORDER BY total DESC;
