"""What happens around a run: checkpoints, interruption, progress, the NaN guard."""
