"""Checkpoints of mmpretrain: MAE pre-training, fine-tuning and linear probing."""

from maekit.weights.layouts.layout import Layout
from maekit.weights.layouts.openmmlab_names import PATCHES, class_names, from_openmmlab, is_segmenter

LAYOUT = Layout(
    name="mmpretrain",
    words="mmpretrain",
    recognise=lambda contents, _prefix: not is_segmenter(contents),
    to_ours=from_openmmlab,
    patches=PATCHES,
    metadata=class_names,
    foreign=((r"backbone\.layers\.\d+\.ln1\.", "a ViT of mmpretrain"),),
)
