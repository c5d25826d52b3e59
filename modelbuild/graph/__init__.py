"""What modelbuild knows of ONNX graphs: files, interfaces, precisions, pinned axes."""
