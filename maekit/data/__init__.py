"""Reading, transforming, sampling, making and checking images."""
