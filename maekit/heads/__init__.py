"""Heads: features in, predictions out. They never import the backbone."""
