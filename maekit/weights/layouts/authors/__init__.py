"""Files as the authors of each pre-training released or saved them."""
