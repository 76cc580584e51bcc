"""Several labels an image, numbers, and grades: models, losses, metrics, what is shown."""
