"""Recipes: `<task>.yaml` and its overlays `<task>-<recipe>.yaml`."""
