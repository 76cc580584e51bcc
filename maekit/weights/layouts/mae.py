"""Files of facebookresearch/mae: `{"model": tensors, "args": ...}`, whose names are ours."""

from maekit.weights.layouts.layout import Layout, is_plain
from maekit.weights.layouts.plain_names import from_plain

LAYOUT = Layout(
    name="mae",
    words="facebookresearch/mae",
    recognise=lambda contents, prefix: contents.key == "model" and not prefix,
    to_ours=from_plain,
    rank=1,
    writes="mae",
    holds=is_plain,
)
