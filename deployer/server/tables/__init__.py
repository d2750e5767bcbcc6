"""Tables: rows and columns to a graph's inputs."""
