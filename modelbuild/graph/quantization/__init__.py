"""int8: which nodes of a float32 graph, with which scales, and the pairs that say so in the file."""
