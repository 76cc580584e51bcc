"""Charts as SVG: line charts and heat maps, for a desktop, a phone and a file."""
