"""iNaturalist: JSON annotations of a year, and the folders they name."""
