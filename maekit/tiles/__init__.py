"""Predictions on images that are larger than memory: regions of files, tiles, and what joins their results."""
