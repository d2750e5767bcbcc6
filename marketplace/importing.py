"""Importing: a durable job that brings a source in as a version, and mirrors."""
