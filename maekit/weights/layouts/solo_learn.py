"""Names of solo-learn's pre-training of an MAE: `backbone.*`, `decoder.*` and an online classifier.

Source: vturrisi/solo-learn solo/methods/mae.py (MAEDecoder, MAE), solo/methods/base.py (BaseMethod.classifier).
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from maekit.weights.layouts.layout import Contents, Layout
from maekit.weights.layouts.plain_names import decoder_name
from maekit.weights.read.wrappers import unwrap


def _recognise(contents: Contents, prefix: str) -> bool:
    decoder = f"{prefix.removesuffix('backbone.')}decoder.decoder_pred.weight"
    return prefix.endswith("backbone.") and decoder in contents.tensors


def _to_ours(path: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return unwrap(path, tensors, prefix, lambda name, inside: name if inside else decoder_name(name))


LAYOUT = Layout(
    name="solo-learn",
    words="solo-learn",
    recognise=_recognise,
    to_ours=_to_ours,
    beside=("classifier.*",),  # it only watches the pre-training, so it keeps its name and is not taken for a head
)
