"""Commands on runs that are there: listed, watched, put side by side."""
