"""modelbuild: PyTorch models into proven ONNX files and TensorRT engines, incrementally."""
