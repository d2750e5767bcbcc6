"""Publishing: from a folder with market.yaml to a version that can be checked."""
