"""Runs as their folders tell them. Standard library and YAML only: nothing here waits for torch."""
