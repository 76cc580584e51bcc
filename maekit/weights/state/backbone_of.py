"""Which backbone a file of weights holds, from its names and shapes alone: no number in it is read."""

from pathlib import Path

from maekit.weights.read.metadata import model_settings
from maekit.weights.state.state_file import read_state


def backbones_of(path: str | Path) -> tuple[str, ...]:
    """Returns the names of the ViTs that a file of weights may hold, such as vit_base_patch16, the likeliest first.

    A checkpoint of a maekit run, and a file converted from one, say it; else it is measured. Where it takes time to
    know the numbers, as in a file of 2.5 GB, none are read.

    Args:
        path: a file, a folder of transformers, or `FILE#KEY`.

    Returns:
        One name; several where tensors do not show in what they differ, such as heads; none for a network of another
        kind, which a load then explains.

    Raises:
        UserError: as `read_state`.
    """
    state = read_state(path, values=False)
    said = model_settings(state.meta).get("backbone")
    return (said,) if isinstance(said, str) else state.shape.names
