"""The model card of exported weights: what is recorded of a run, and nothing else."""
