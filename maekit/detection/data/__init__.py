"""Images with objects: batches, transforms, COCO's files."""
