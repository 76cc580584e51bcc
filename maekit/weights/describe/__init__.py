"""What is in a file of weights and what it can be used for."""
