"""The shared ViT backbone: images in, features out. No Lightning here, and no torch until a module of it asks."""
