"""ImageNet-A, -R, -Sketch and -C: evaluated only."""
