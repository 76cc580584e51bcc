"""Tables that list a data set's images: CSV, TSV and Parquet."""
