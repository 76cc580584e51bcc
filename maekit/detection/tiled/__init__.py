"""Detection in images that are larger than memory: tiles, and what makes their objects one list."""
