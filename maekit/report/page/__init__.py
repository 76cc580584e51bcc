"""A document as one HTML page: jinja2 templates, a style sheet and a script, all written into the one file."""
