"""Pictures: read within limits, laid out for graphs, and what is found in them."""
