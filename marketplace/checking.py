"""Checking versions: a durable job that fills a version's table of checks."""
