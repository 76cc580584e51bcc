"""Which classes are in each label map, for folds that hold each class in its proportion. Read once, and kept."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from maekit.base.identity import fingerprint
from maekit.data.loader import usable_cores
from maekit.errors import UserError
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.labels.coding import valued
from maekit.segmentation.data.labels.read import read_map, values_in
from maekit.segmentation.data.layout.layout import Pairs
from maekit.system.files import cache_folder, write_json


def values_present(pairs: Pairs, values: Sequence[int]) -> np.ndarray:
    """Returns [N, V] bool, which of V values each of N label maps has; with colours a class's number is its value.

    Every label map is read, and the result kept in the cache folder: the runs on other folds do not read them again.

    Args:
        pairs: images with their label maps.
        values: that may be classes.

    Raises:
        UserError: a label map cannot be read.
    """
    file = cache_folder() / "label_values" / f"{_mark(pairs)}.json"
    found = _kept(file, len(pairs))
    if found is None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            found = list(pool.map(lambda index: _values(pairs, index), range(len(pairs))))
        with suppress(OSError, UserError):  # a cache that cannot be written costs the next run time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, found)
    place = {value: at for at, value in enumerate(values)}
    present = np.zeros((len(pairs), len(values)), dtype=bool)
    for row, own in enumerate(found):
        present[row, [place[value] for value in own if value in place]] = True
    return present


def possible_classes(
    names: Sequence[str], reduce_zero_label: object, values: Sequence[int] | None, colours: ColourTable | None
) -> dict[int, str]:
    """Returns the values that may be classes, with the name of each.

    Args:
        names: of the classes, in label order.
        reduce_zero_label: `data.reduce_zero_label`; auto where label maps must show it: a value is then its own name.
        values: `data.label_values`.
        colours: of the classes, where label maps are coded by them.
    """
    if colours is not None:
        return dict(enumerate(colours.names))
    if values:
        return dict(zip(valued(values, len(names), reduce_zero_label).values, names, strict=True))
    if reduce_zero_label != "auto":
        return dict(enumerate(names, int(bool(reduce_zero_label))))
    return {value: f"value {value}" for value in range(len(names) + 1)}


def _values(pairs: Pairs, index: int) -> list[int]:
    values: list[int] = values_in(read_map(pairs.label(index), pairs.colours)[0]).tolist()
    return values


def _mark(pairs: Pairs) -> str:
    """A hash of the label maps' paths, sizes and times of change, and of the colours."""
    looks = []
    for index in range(len(pairs)):
        path = pairs.label(index)
        try:
            look = Path(path).stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read as a label map ({error.strerror}); save it again") from None
        looks.append(f"{path} {look.st_size} {look.st_mtime_ns}")
    coded = b"" if pairs.colours is None else pairs.colours.content()
    return fingerprint("\n".join(looks).encode(errors="surrogateescape"), coded)


def _kept(file: Path, count: int) -> list[list[int]] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, list) and len(found) == count else None
