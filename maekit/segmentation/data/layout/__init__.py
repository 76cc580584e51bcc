"""Where the images and the label maps of a data set are."""
