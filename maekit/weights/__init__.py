"""Files of weights: finding and reading them safely, recognising their layout, loading them into a model."""
