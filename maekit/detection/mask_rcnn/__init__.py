"""Mask R-CNN on a feature pyramid, numerically detectron2's and built on torchvision's operators."""
