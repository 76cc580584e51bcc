"""The files of computed features: rows, listings, Parquet."""
