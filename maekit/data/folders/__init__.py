"""Folders of images: listings, names of splits and files, checks."""
