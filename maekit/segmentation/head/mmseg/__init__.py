"""mmsegmentation's own decode heads on maekit's maps, losses and data."""
