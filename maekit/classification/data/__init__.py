"""Labelled images: class folders, JSON annotations, lists."""
