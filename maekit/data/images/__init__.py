"""Image files: decoding to RGB, resizing, normalising, batches."""
