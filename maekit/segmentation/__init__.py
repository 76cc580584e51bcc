"""Semantic segmentation: UperNet on a tapped ViT, sliding windows, IoU."""
