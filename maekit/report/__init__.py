"""Reports of runs, studies and folders of runs: one document, written as HTML, Markdown, LaTeX and CSV."""
