"""How a model is made to run: packaging, runtimes, health, and the inference server."""

import os

# ONNX Runtime's wheels report usage to their maker unless this is set before they are imported. Only modules
# below this package import them, so whoever comes to them, from a library to a command, has passed here.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
