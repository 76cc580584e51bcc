"""What a run keeps of an evaluation: records of single images with intervals, and confusions."""
