"""What each family of tasks declares of the files it writes: kinds, names of its heads, and what they serve for."""
