"""Semantic segmentation: a head on the maps of a ViT, evaluation in sliding windows, IoU."""
