"""The page of a run that is still written, served on this machine alone and refreshed in place."""
