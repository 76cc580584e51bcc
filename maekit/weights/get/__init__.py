"""From a name to a file: paths, published names, the Hugging Face hub."""
