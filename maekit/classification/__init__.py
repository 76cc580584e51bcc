"""Image classification: class folders and lists, linear heads, top-1 and top-5."""
