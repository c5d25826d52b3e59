"""One kind of work per file: knobs as fields, files in, files out."""
