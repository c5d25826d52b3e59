"""Which nodes to keep in float32, so that the rest can be half: found by measuring."""
