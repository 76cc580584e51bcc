"""Studies of hyper-parameters over seeds."""
