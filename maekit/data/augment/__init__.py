"""Augmentation of single images; its randomness comes from (seed, epoch, index) alone."""
