"""A document as HTML, Markdown, LaTeX, CSV and JSON."""
