"""What a task is: a model, what is shown of it, data, and what the data are (`DataSpec`)."""
