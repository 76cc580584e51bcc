"""Finds files with the same bytes in two splits, which makes a validation worthless, or in two classes."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from maekit.data.folders.listing import SCAN_THREADS

MAX_QUICK = 10_000  # files of each split that the quick look compares
HEAD = 16_384  # bytes by which files of one size are told apart before whole files are read
Result = TypeVar("Result")


def same_images(train: Sequence[str], val: Sequence[str], *, full: bool = False) -> str:
    """Returns one line if validation images are training images too, whatever their names; empty if none is.

    The quick check compares 10,000 files of each split, those with a name that is in both splits first.

    Args:
        train: paths of the training images.
        val: paths of the validation images.
        full: compare all.
    """
    here, there = train, val
    if not full and max(len(train), len(val)) > MAX_QUICK:
        here, there = sample(train, val, MAX_QUICK)
    pairs = twins(here, there)
    if not pairs:
        return ""
    mine, other = pairs[0]
    sampled = " (--full compares all)" if len(here) < len(train) or len(there) < len(val) else ""
    return (
        f"{len(pairs):,} of {len(there):,} validation images are training images too, byte for byte "
        f"({other} is {mine}){sampled}"
    )


def in_two_classes(paths: Sequence[str], labels: Sequence[int], *, full: bool = False) -> str:
    """Returns one line if images have the same bytes and different classes, of which one must be wrong; else empty.

    Args:
        paths: of the images.
        labels: their classes.
        full: compare all; else 10,000 of them.
    """
    kept = list(range(len(paths)))
    if not full and len(paths) > MAX_QUICK:
        kept = random.Random(0).sample(kept, MAX_QUICK)
    marks: tuple[Callable[[str], object], ...] = (_size, _head, _digest)
    groups = list[list[int]]()
    for mark in marks:
        alike: dict[object, list[int]] = {}
        for index, own in zip(kept, _map(mark, [paths[index] for index in kept]), strict=True):
            alike.setdefault(own, []).append(index)
        groups = [group for own, group in alike.items() if own and len({labels[index] for index in group}) > 1]
        kept = [index for group in groups for index in group]
    if not groups:
        return ""
    one = groups[0][0]
    other = next(index for index in groups[0] if labels[index] != labels[one])
    return (
        f"{sum(map(len, groups)):,} training images are in another class too, byte for byte "
        f"({paths[other]} is {paths[one]})"
    )


def twins(here: Sequence[str], there: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (file of `here`, file of `there`) for each pair with the same bytes; unreadable files are left out.

    Only files of a size that occurs on both sides are read, and whole only those that begin alike.
    """
    first, second = list(here), list(there)
    for mark in (_size, _head):
        marks = [_map(mark, side) for side in (first, second)]
        shared = {*marks[0]} & {*marks[1]} - {0, b""}
        first, second = (
            [path for path, own in zip(side, of_side, strict=True) if own in shared]
            for side, of_side in zip((first, second), marks, strict=True)
        )
    known = {digest: path for path, digest in zip(first, _map(_digest, first), strict=True) if digest}
    pairs = [(known.get(digest), path) for path, digest in zip(second, _map(_digest, second), strict=True)]
    return [(twin, path) for twin, path in pairs if twin is not None]


def sample(train: Sequence[str], val: Sequence[str], most: int) -> tuple[list[str], list[str]]:
    """Returns at most so many files of each split, those with a name that is in both splits first."""
    shared = {_last(path) for path in train} & {_last(path) for path in val}
    return _sample(train, shared, most), _sample(val, shared, most)


def _sample(paths: Sequence[str], first: set[str], most: int) -> list[str]:
    chosen = random.Random(0).sample(paths, len(paths))
    return sorted(chosen, key=lambda path: _last(path) not in first)[:most]


def _map(what: Callable[[str], Result], paths: Sequence[str]) -> list[Result]:
    """Calls a function that reads for each path; in threads, each with many paths, as a task a path costs more."""
    parts = [paths[first::SCAN_THREADS] for first in range(SCAN_THREADS)]
    found = list[Result]([None]) * len(paths)  # type: ignore[list-item]
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        for first, results in enumerate(pool.map(lambda part: [what(path) for path in part], parts)):
            found[first::SCAN_THREADS] = results
    return found


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _head(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return blake2b(file.read(HEAD), digest_size=16).digest()
    except OSError:
        return b""


def _digest(path: str) -> bytes:
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).digest()
    except OSError:
        return b""
