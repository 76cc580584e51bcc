"""Places365: lists of files with labels, and the folders they name."""
