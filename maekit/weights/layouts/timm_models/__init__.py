"""Models of timm beside VisionTransformer."""
