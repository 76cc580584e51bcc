"""Images that are in both splits, which makes a validation look better than it is."""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

MAX_COMPARED = 2_000


def same_images(train: Sequence[str], val: Sequence[str]) -> str | None:
    """Returns one line if validation images are training images too, whatever their names.

    All files are compared by size, and those of one size by content: up to 2,000 validation images, evenly spread.

    Args:
        train: paths of the training images.
        val: paths of the validation images.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in train:
        by_size[_size(path)].append(path)
    step = max(1, -(-len(val) // MAX_COMPARED))
    compared = val[::step]
    digests: dict[int, dict[bytes, str]] = {}
    found = []
    for path in compared:
        size = _size(path)
        if size > 0 and size in by_size:
            if size not in digests:
                digests[size] = {_digest(other): other for other in by_size[size]}
            other = digests[size].get(_digest(path))
            found += [(path, other)] if other else []
    if not found:
        return None
    mine, other = found[0]
    return (
        f"{len(found):,} of {len(compared):,} validation images are training images too, compared by content "
        f"({mine} is {other})"
    )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def _digest(path: str) -> bytes:
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).digest()
    except OSError:
        return path.encode(errors="surrogateescape")
