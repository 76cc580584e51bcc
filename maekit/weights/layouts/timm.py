"""A state dict of timm's VisionTransformer, alone or inside other modules; also what nobody else's names give away."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.layout import Layout
from maekit.weights.layouts.plain_names import from_plain


def _from_ours(_path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leaves a decoder out, which timm's VisionTransformer has no place for."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(("decoder_", "mask_token"))}


LAYOUT = Layout(
    name="state_dict",
    words="a bare state dict",
    recognise=lambda _contents, _prefix: True,
    to_ours=from_plain,
    rank=2,
    writes="timm",
    from_ours=_from_ours,
)
