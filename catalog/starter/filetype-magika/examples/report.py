"""Sum a column of a CSV file."""

import csv
import sys


def total(path: str, column: str) -> float:
    """The sum of a column."""
    with open(path, newline="", encoding="utf-8") as rows:
        return sum(float(row[column]) for row in csv.DictReader(rows))


if __name__ == "__main__":
    print(total(sys.argv[1], sys.argv[2]))
