"""Looks for a setting before a run: a learning rate by a range test, a device batch by what fits."""
