"""A study's trials in a database: handed out, repeated, pruned."""
