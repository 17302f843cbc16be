"""From an ONNX graph to a PyTorch module that computes the same."""
