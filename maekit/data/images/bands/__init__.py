"""Image files of any channels: reading, naming their bands, statistics of each band."""
