"""Which backbone a file of weights holds, from its names and shapes alone: no number in it is read."""

from pathlib import Path

from maekit.weights.read.metadata import model_settings
from maekit.weights.state.state_file import read_state


def backbone_of(path: str | Path) -> str | None:
    """Returns the name of the ViT in a file of weights, such as vit_base_patch16.

    A checkpoint of a maekit run, and a file converted from one, say it; else it is measured. Where it takes time to
    know the numbers, as in a file of 2.5 GB, none are read.

    Args:
        path: a file, a folder of transformers, or `FILE#KEY`.

    Returns:
        The name; None for a network of another kind, which a load then explains.

    Raises:
        UserError: as `read_state`.
    """
    state = read_state(path, values=False)
    said = model_settings(state.meta).get("backbone")
    return said if isinstance(said, str) else state.shape.name
