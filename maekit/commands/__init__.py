"""One module a verb of the command line; each has `add_arguments(parser)` and `main(args, flags)`."""
