"""How a model is made to run: packaging, runtimes, health, and the inference server."""
