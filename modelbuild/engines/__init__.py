"""Engines of TensorRT and TensorRT-RTX: what both need, and all that calls them."""
