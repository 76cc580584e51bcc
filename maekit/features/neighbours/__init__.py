"""Nearest neighbours, clusters and a linear probe of features."""
