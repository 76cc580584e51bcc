"""The same image in two splits, by the bytes of its file: a validation that has seen its images says nothing."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from maekit.data.listing import SCAN_THREADS, Listing

MAX_QUICK = 10_000  # files of each split that the quick look compares
Result = TypeVar("Result")


def same_images(train: Listing, val: Listing, *, full: bool) -> str:
    """Returns one line if files of the two splits have the same bytes, else an empty one.

    The quick look compares 10,000 files of each split, those whose names are in both first.

    Args:
        train: the training images.
        val: the validation images.
        full: compare all.
    """
    here, there = _compared(train, val, full)
    pairs = twins(here, there)
    if not pairs:
        return ""
    named = ", ".join(f"{Path(other).relative_to(val.root)} is {mine}" for mine, other in pairs[:1])
    sampled = "" if full or max(len(train), len(val)) <= MAX_QUICK else " of those compared (--full compares all)"
    advice = "take them out of one split, or their validation is no test"
    return f"{val.root}: {len(pairs):,} images{sampled} are also training images, byte for byte ({named}); {advice}"


def twins(here: Iterable[str], there: Iterable[str]) -> list[tuple[str, str]]:
    """Returns (file here, file there) for each file there whose bytes one here has too; unreadable files are left out.

    Only files whose size both sides have are read. A file that is on both sides itself is not told.
    """
    by_size: dict[int, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, paths in enumerate((list(here), list(there))):
        for path, size in zip(paths, _map(_size, paths), strict=True):
            if size:
                by_size[size][side].append(path)
    both = [group for group in by_size.values() if group[0] and group[1]]
    mine, others = [path for group in both for path in group[0]], [path for group in both for path in group[1]]
    known = {digest: path for path, digest in zip(mine, _map(_digest, mine), strict=True) if digest}
    pairs = [(known.get(digest), path) for path, digest in zip(others, _map(_digest, others), strict=True)]
    return [(twin, path) for twin, path in pairs if twin is not None and twin != path]


def _compared(train: Listing, val: Listing, full: bool) -> Iterator[list[str]]:
    names = [{_last(name) for name in part.names} for part in (train, val)] if not full else []
    for part in (train, val):
        chosen = list(range(len(part)))
        if not full and len(part) > MAX_QUICK:
            shared = names[0] & names[1]
            random.Random(0).shuffle(chosen)
            chosen = sorted(chosen, key=lambda index: _last(part.names[index]) not in shared)[:MAX_QUICK]
        yield [part.path(index) for index in chosen]


def _map(what: Callable[[str], Result], paths: list[str]) -> list[Result]:
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        return list(pool.map(what, paths))


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _digest(path: str) -> bytes:
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).digest()
    except OSError:
        return b""
