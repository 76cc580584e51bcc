"""Sets images aside for validation: a share or one of k folds, whole groups, each class in its proportion."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from maekit.errors import UserError
from maekit.system.folds import parse_fold


def rank_of(seed: int, name: str) -> bytes:
    """Returns what images or groups are put in an order by: another one for each seed, whatever the listing's is."""
    return blake2b(b"%d/%s" % (seed, os.fsencode(name)), digest_size=8).digest()


@dataclass(frozen=True)
class Share:
    """Which images are for validation where the data have no such split.

    Attributes:
        fraction: of the images, above 0 and below 1; not used with folds.
        seed: chooses other images.
        fold: such as 2/5, the second of five; None for a share.
        group_pattern: regular expression whose first group, or whole match, in an image's name is its group.
    """

    fraction: float
    seed: int
    fold: str | None = None
    group_pattern: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise UserError(f"data.val_fraction: got {self.fraction}, expected above 0 and below 1")
        if self.seed < 0:
            raise UserError(f"data.split_seed: got {self.seed}, expected 0 or more")
        _ = self.parts
        try:
            re.compile(self.group_pattern or "")
        except re.error as error:
            what = f"data.group_pattern: got {self.group_pattern!r} ({error})"
            raise UserError(f"{what}, expected a regular expression such as ^([^_]+)_") from None

    @property
    def parts(self) -> tuple[list[float], int]:
        """The shares of the parts that images are divided into, and which part is for validation."""
        if self.fold is None:
            return [1 - self.fraction, self.fraction], 1
        number, count = parse_fold(self.fold)
        return [1 / count] * count, number - 1

    def describe(self) -> str:
        """Returns what is set aside where there is no validation split, in words."""
        return f"no validation split: {self.words()}"

    def words(self) -> str:
        """Returns what is set aside, in words."""
        what = f"fold {self.fold}" if self.fold else f"{self.fraction:g} of the images"
        groups = f", whole groups by {self.group_pattern}" if self.group_pattern else ""
        return f"{what} set aside, split_seed {self.seed}{groups}"

    def groups(self, names: Sequence[str]) -> list[str]:
        """Returns the group of each image, its own name where no pattern is given.

        Raises:
            UserError: a name does not match the pattern.
        """
        if self.group_pattern is None:
            return list(names)
        found = [re.search(self.group_pattern, name) for name in names]
        lone = next((name for name, match in zip(names, found, strict=True) if match is None), None)
        if lone is not None:
            raise UserError(f"data.group_pattern: {self.group_pattern!r} is not in the name {lone!r}; mend the pattern")
        return [match[1] if match.re.groups else match[0] for match in found if match]

    def overlap(self, train: Sequence[str], val: Sequence[str]) -> str | None:
        """Returns one line if a group has images on both sides of a given split."""
        both = sorted(set(self.groups(train)) & set(self.groups(val))) if self.group_pattern else []
        if not both:
            return None
        more = f" and {len(both) - 1:,} more" if both[1:] else ""
        return f"data.group_pattern: group {both[0]!r}{more} is in training and in validation; give it to one of them"

    def held_out(
        self,
        names: Sequence[str],
        present: np.ndarray,
        groups: Sequence[str] = (),
        classes: Sequence[str] = (),
        where: object = "",
    ) -> np.ndarray:
        """Returns [N] bool, whether each image is for validation.

        Iterative stratification (Sechidis et al. 2011): the rarest class first, each unit to the part that lacks most
        of it. A unit is a group, or an image without groups.

        Args:
            names: N names of images.
            present: [N, C] bool, the classes in each; C may be 0.
            groups: of each image, from a table; empty for those by the pattern.
            classes: C names; with them a fold is refused where a class is in one unit alone.
            where: what to name in that error.

        Raises:
            UserError: there are fewer units than parts, or see `classes`.
        """
        shares, chosen = self.parts
        units = groups or self.groups(names)
        if self.fold is not None and classes:
            _require_spread(units, present, classes, where)
        return np.asarray(part_of_each(units, present, shares, self.seed) == chosen)


def _require_spread(units: Sequence[str], present: np.ndarray, classes: Sequence[str], where: object) -> None:
    names, owner = np.unique(units, return_inverse=True)
    counts = np.zeros((len(names), present.shape[1]), dtype=bool)
    np.logical_or.at(counts, owner, present)
    lone = np.flatnonzero(counts.sum(axis=0) == 1)
    if len(lone):
        what = "group" if len(names) < len(units) else "image"
        raise UserError(
            f"{where}: class '{classes[lone[0]]}' is in one {what}, expected two or more, since each class is to be in "
            "training and in validation; add images, remove the class, or say which images are for validation"
        )


def part_of_each(units: Sequence[str], present: np.ndarray, shares: Sequence[float], seed: int) -> np.ndarray:
    """Returns the part of each image, [N] int64, by iterative stratification; see `Share.held_out`.

    Args:
        units: of each image its group, or its own name where it is in none.
        present: [N, C] bool, the classes in each; C may be 0.
        shares: of the parts, in sum 1.
        seed: makes other parts.

    Raises:
        UserError: there are fewer units than parts.
    """
    names, owner = np.unique(units, return_inverse=True)
    if len(names) < len(shares):
        what = "groups" if len(names) < len(units) else "images"
        raise UserError(f"{len(names)} {what} to divide into {len(shares)} parts; add images, or take fewer folds")
    counts = np.zeros((len(names), present.shape[1] + 1))  # the last column counts the images
    np.add.at(counts, owner, np.column_stack([present, np.ones(len(units))]).astype(np.float64))
    order = sorted(range(len(names)), key=lambda unit: rank_of(seed, str(names[unit])))
    return np.asarray(_divide(counts, np.array(shares), order)[owner])


def _divide(counts: np.ndarray, shares: np.ndarray, order: list[int]) -> np.ndarray:
    """Returns the part of each unit, [U] int64; every part gets one or more of at least as many units.

    Args:
        counts: [U, C + 1] images of each class, and all images, in each unit.
        shares: of the parts, in sum 1.
        order: in which units are taken where nothing else decides.
    """
    part = np.full(len(counts), -1)
    wanted = shares[:, None] * counts.sum(axis=0)
    left = counts[:, :-1].sum(axis=0)
    while left.any() or (part < 0).any():
        rarest = int(np.where(left > 0, left, np.inf).argmin()) if left.any() else -1
        for unit in order:
            if part[unit] < 0 and counts[unit, rarest] > 0:
                best = np.lexsort((-wanted[:, -1], -wanted[:, rarest]))[0]
                part[unit] = best
                wanted[best] -= counts[unit]
                left -= counts[unit, :-1]
    for empty in np.flatnonzero(np.bincount(part, minlength=len(shares)) == 0):
        largest = np.bincount(part, minlength=len(shares)).argmax()
        part[next(unit for unit in order if part[unit] == largest)] = empty
    return part
