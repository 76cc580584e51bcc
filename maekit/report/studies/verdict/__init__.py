"""What a study's numbers say, in sentences: which cell is best and whether that is sure, and where to look on."""
