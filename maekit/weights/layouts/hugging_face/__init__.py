"""Models of Hugging Face transformers beside ViT and ViTMAE, one file a type."""
