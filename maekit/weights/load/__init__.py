"""Loading weights into a model, with an account of every tensor."""
