"""COCO's average precision of boxes and masks."""
