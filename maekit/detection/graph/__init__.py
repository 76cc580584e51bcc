"""A detector as one graph whose outputs have fixed shapes, for other programs."""
