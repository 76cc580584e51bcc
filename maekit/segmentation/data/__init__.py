"""Images with label maps: where they are, what their values mean, crops."""
