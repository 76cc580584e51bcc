"""How a run is chosen: tasks, recipes, the flags that change them, and other tools' words for these."""
