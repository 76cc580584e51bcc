"""Segmentation of images that are larger than memory: sliding windows over bands of rows, labels on the disk."""
