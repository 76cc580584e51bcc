"""What a report says of one run, and of several."""
