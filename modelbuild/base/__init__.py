"""Values and the plainest helpers: what everything else may import."""
