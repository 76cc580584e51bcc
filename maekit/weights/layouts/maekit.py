"""Checkpoints of maekit's own runs: a LightningModule's `model.`, in it `backbone.` and `head.`."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.backbone.lora import merged
from maekit.weights.families.registry import extra_parameters, released_names
from maekit.weights.layouts.layout import Contents, Layout, Said
from maekit.weights.read.metadata import CARD, model_settings

_BACKBONE = "model.backbone."


def _recognise(contents: Contents, prefix: str) -> bool:
    """A run's checkpoint has a card; one without, made by hand, has the names of our own head."""
    return prefix == _BACKBONE and (CARD in contents.metadata or "model.head.fc.weight" in contents.tensors)


def _part(name: str) -> str:
    ours = name.removeprefix("model.")
    return "" if ours.startswith(("backbone.", "head.")) or ours in extra_parameters() else "beside the model"


def _to_ours(path: Path, tensors: Mapping[str, Tensor], _prefix: str) -> dict[str, Tensor]:
    named = {name.removeprefix("model.").removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    named = merged(named, path)
    released = released_names(named)
    return {released(name) or name: tensor for name, tensor in named.items()}


LAYOUT = Layout(
    name="maekit",
    words="a maekit run",
    recognise=_recognise,
    to_ours=_to_ours,
    encoder=_BACKBONE,
    part=_part,
    beside=extra_parameters(),
    says=lambda contents, _ours: Said(backbone=str(model_settings(contents.metadata).get("backbone", ""))),
    sizes_are_ours=True,
)
