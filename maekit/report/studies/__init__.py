"""What a report says of a study."""
