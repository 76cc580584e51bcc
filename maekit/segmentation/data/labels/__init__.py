"""What the values of label maps mean: evidence, decision, problems."""
