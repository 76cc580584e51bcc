"""Joint transforms of an image and its label map."""
