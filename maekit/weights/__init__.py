"""Files of weights: reading them safely, whose layout they have, and getting them into a model completely."""
