"""The commands on frozen features: one file a verb."""
