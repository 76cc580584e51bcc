"""The shared ViT backbone."""
