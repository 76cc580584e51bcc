"""Detection and instance segmentation: Mask R-CNN on a ViT with windows and a pyramid, COCO's metrics."""
