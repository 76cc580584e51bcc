"""The layouts of weights: tensor names of other projects, and ours."""
