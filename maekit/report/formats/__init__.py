"""A document as Markdown, LaTeX, CSV and JSON."""
