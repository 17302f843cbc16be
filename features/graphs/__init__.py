"""ONNX graphs: reading, cutting, keeping."""
