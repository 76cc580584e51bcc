"""Checkpoints of mmsegmentation: MAE with UperNet."""

from maekit.weights.layouts.layout import Layout
from maekit.weights.layouts.openmmlab_names import PATCHES, class_names, from_openmmlab, is_segmenter

LAYOUT = Layout(
    name="mmsegmentation",
    words="mmsegmentation",
    recognise=lambda contents, _prefix: is_segmenter(contents),
    to_ours=from_openmmlab,
    patches=PATCHES,
    beside=("*.relative_position_index",),  # which maekit computes
    metadata=class_names,
)
