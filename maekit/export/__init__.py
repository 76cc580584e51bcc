"""Weights for other programs, with the transform and the card that belong to them."""
