"""The variants of ImageNet's validation images: layout, reading, checks."""
