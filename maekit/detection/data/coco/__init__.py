"""COCO's annotation files: read, checked, made."""
