"""A step of a run whose loss or gradient was not finite: kept in a file, and run again layer by layer."""
