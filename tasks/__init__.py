"""One module a task: a `Model` and a `Data` class."""
