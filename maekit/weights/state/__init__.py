"""One set of weights of a file: its layout, its kind, and its tensors under our names."""
