"""How values of a study are written in its tables and charts: files of weights by the end of their path that differs.

Standard library only.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

from maekit.study.define.space import Choice, Space, short_value
from maekit.system.plain import JSON

WEIGHTS = "model.weights"
_ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".tar", ".npz", ".pkl")
_SAY_NOTHING = {"best", "last", "model", "checkpoint", "pytorch_model"}  # names that most files have


def value_label(space: Space, key: str, value: JSON) -> str:
    """A value as tables and charts write it: `0.65`, `1e-4`, and weights as `weights_labels` does."""
    if key != WEIGHTS or not isinstance(value, str):
        return short_value(value)
    axis = next((axis for axis in space if isinstance(axis, Choice) and axis.key == key), None)
    texts = [text for text in axis.values if isinstance(text, str)] if axis is not None else []
    return weights_labels([*texts, value])[value]


def weights_labels(values: Sequence[str]) -> dict[str, str]:
    """Names for files of weights: the shortest end of each path that no other has, without the file's ending.

    Args:
        values: what `--model.weights` takes: paths, published names, hf:OWNER/NAME, FILE#KEY.

    Returns:
        Each value with its name, such as `a/x` and `b/x` for a/x.pth and b/x.pth; all names differ.
    """
    parts = {value: _parts(value) for value in values}
    found = {}
    for value, own in parts.items():
        others = [other for text, other in parts.items() if text != value]
        least = next((n for n, part in enumerate(reversed(own), 1) if part not in _SAY_NOTHING), len(own))
        lengths = range(least, len(own) + 1)
        length = next((n for n in lengths if all(other[-n:] != own[-n:] for other in others)), None)
        found[value] = "/".join(own[-length:]) if length else value
    return found


def _parts(value: str) -> tuple[str, ...]:
    path, mark, key = value.removeprefix("hf:").partition("#")
    parts = [part for part in PurePosixPath(path).parts if part != "/"] or [path]
    while PurePosixPath(parts[-1]).suffix in _ENDINGS:
        parts[-1] = PurePosixPath(parts[-1]).stem
    parts[-1] += mark + key
    return tuple(parts)
