"""A run's folder: made, locked, found and read. Standard library and YAML only."""
