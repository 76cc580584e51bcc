"""The processes that train a study's trials."""
