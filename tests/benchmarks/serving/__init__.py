"""What serving costs over ONNX Runtime itself, and beside other servers of the same graph."""
