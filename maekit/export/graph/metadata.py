"""What an exported file says of itself, as one JSON object."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maekit.base.exportable import Exportable
from maekit.errors import UserError
from maekit.version import __version__

KEY = "maekit"  # of the metadata in a file
FORMAT = 1  # of the metadata; a reader refuses a newer one
_ALWAYS = ("format", "family", "kind", "channels", "image_size", "outputs", "input")


def describe(exportable: Exportable, *, origin: dict[str, object]) -> dict[str, object]:
    """Returns the metadata of a file.

    Args:
        exportable: what is exported.
        origin: what the weights are: task, recipe, step, kind of export and so on.
    """
    height, width = exportable.image_size
    multiple = exportable.side_multiple
    least = exportable.least_multiple * multiple
    return {
        "format": FORMAT,
        "maekit": __version__,
        **origin,
        "channels": exportable.channels,
        "image_size": [height, width],
        "batch": "any" if exportable.dynamic_batch else 1,
        "size": f"any multiples of {multiple} px from {least} on" if multiple else "fixed",
        **({"side_multiple": multiple, "side_least": least} if multiple else {}),
        **({"size_fixed_because": exportable.fixed_because} if exportable.fixed_because else {}),
        "outputs": list(exportable.outputs),
        **exportable.metadata,
    }


def read_metadata(text: str, path: Path) -> dict[str, Any]:
    """Returns the metadata of a file from the text that it holds.

    Raises:
        UserError: they are not those of maekit, or a newer maekit wrote it.
    """
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    missing = [name for name in _ALWAYS if not isinstance(values, dict) or name not in values]
    if missing:
        raise UserError(
            f"{path}: got metadata without {missing[0]}, expected those of `maekit export`; export the run again"
        )
    if values["format"] > FORMAT:
        raise UserError(
            f"{path} was written by maekit {values.get('maekit')}, whose files have the format {values['format']}, "
            f"expected {FORMAT} or older; install that maekit, or export the run again with this one"
        )
    return dict(values)


def require_sides(found: Mapping[str, Any], shape: Sequence[int], path: Path) -> None:
    """Refuses images whose sides are none that a file of free sizes takes; runtimes fail somewhere in the graph.

    Args:
        found: the file's metadata.
        shape: B, C, H, W of the images.
        path: the file, for the error.
    """
    multiple, least = found.get("side_multiple", 1), found.get("side_least", 1)
    if any(side % multiple or side < least for side in shape[2:]):
        sides = f"{shape[2]} x {shape[3]}"
        raise UserError(f"{path}: got images of {sides} pixels, expected {found['size']}; resize or pad them")


def require_same(found: Any, expected: dict[str, object], name: str) -> None:
    """Refuses a file whose metadata say that it is of another model than expected.

    Args:
        found: the file's.
        expected: of `describe`, for the model at hand.
        name: the file's, for the error.
    """
    for key in ("family", "kind", "task", "target", "outputs", "channels", "image_size", "class_names", "value_names"):
        if found.get(key) != expected.get(key):
            ours, theirs = (_short(values.get(key)) for values in (expected, found))
            raise UserError(
                f"{name} is of another model: its {key} is {theirs}, expected {ours}; give the run that it was "
                "exported from"
            )


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 3:
        return f"{len(value)} names from '{value[0]}' on"
    return str(value)
