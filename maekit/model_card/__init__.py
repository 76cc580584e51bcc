"""The model card that goes with exported weights: what is known of them, and nothing else."""
