"""Images that are in both splits, which makes a validation look better than it is."""

import os
from collections import defaultdict
from hashlib import blake2b
from pathlib import Path

from maekit.data.coco_file import CocoFile

MAX_COMPARED = 1_000


def same_images(train: CocoFile, val: CocoFile) -> str | None:
    """Returns one line if validation images are training images: the same files, or copies under the same name.

    Of files with the same name in different folders, up to 1,000 pairs are compared by size and content.
    """
    training: dict[str, set[str]] = defaultdict(set)
    for index in range(len(train)):
        path = os.path.normpath(train.image(index))
        training[path.rpartition("/")[2]].add(path)
    same, first, pairs = 0, "", []
    for index in range(len(val)):
        path = os.path.normpath(val.image(index))
        others = training.get(path.rpartition("/")[2], set())
        if path in others:
            same, first = same + 1, first or path
        elif others:
            pairs.append((path, min(others)))
    pairs = pairs[:: max(1, len(pairs) // MAX_COMPARED)]
    copies = [mine for mine, theirs in pairs if _equal(mine, theirs)]
    count = same + len(copies)
    if not count:
        return None
    where = first or copies[0]
    return f"{count:,} of {len(val):,} validation images are training images too, such as {where}"


def _equal(mine: str, theirs: str) -> bool:
    try:
        return Path(mine).stat().st_size == Path(theirs).stat().st_size and _digest(mine) == _digest(theirs)
    except OSError:
        return False


def _digest(path: str) -> bytes:
    return blake2b(Path(path).read_bytes(), digest_size=16).digest()
