"""Tables with a row for each image: what of it a model learns, and which images are for validation."""
