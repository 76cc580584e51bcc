"""Metrics over torchmetrics, exact under any split of the data."""
