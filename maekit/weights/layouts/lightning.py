"""Checkpoints of somebody's LightningModule around a ViT with timm's names."""

from maekit.weights.layouts.layout import Layout
from maekit.weights.layouts.plain_names import from_plain

LAYOUT = Layout(
    name="lightning",
    words="a Lightning checkpoint",
    recognise=lambda contents, _prefix: (
        contents.key == "state_dict" and "pytorch-lightning_version" in contents.metadata
    ),
    to_ours=from_plain,
    rank=1,
)
