"""Studies: many runs of one recipe that differ in some keys and in the seed, and what they say together."""
