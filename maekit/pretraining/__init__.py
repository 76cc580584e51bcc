"""Masked pre-training: masks, decoder, targets, and what is drawn of it."""
