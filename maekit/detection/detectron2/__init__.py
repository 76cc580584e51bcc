"""Mask R-CNN run by detectron2's own modules, where it is installed."""
