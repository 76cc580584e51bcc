"""Pairs the images of a segmentation data set with their label maps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maekit.base.identity import Split, fingerprint
from maekit.data.folders.file_names import EXPECTED_IMAGES, LeftOut
from maekit.data.folders.listing import Listing, Names, scan_images, split
from maekit.data.folders.shares import Share
from maekit.errors import UserError, nearest
from maekit.segmentation.data.colours import ColourTable
from maekit.segmentation.data.layout.names import pair_names, stem_of
from maekit.segmentation.data.layout.search import Parts, find_folders, meaning

LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


@dataclass(frozen=True, eq=False)
class Pairs:
    """The images of one split with their label maps, in the images' sorted order.

    Attributes:
        images: the folder that `image_names` are relative to.
        labels: the folder that `label_names` are relative to.
        image_names: one a sample.
        label_names: one a sample.
        colours: of the classes, where the label maps are coded by colours.
        weights: [n] float32, above 0, what each image counts; None where the data do not say.
    """

    images: Path
    labels: Path
    image_names: Names
    label_names: Names
    colours: ColourTable | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_names)

    def image(self, index: int) -> str:
        """Returns the path of one image."""
        return f"{self.images}/{self.image_names[index]}"

    def image_paths(self) -> list[str]:
        """Returns the paths of all images."""
        return [f"{self.images}/{name}" for name in self.image_names]

    def label(self, index: int) -> str:
        """Returns the path of one label map."""
        return f"{self.labels}/{self.label_names[index]}"

    def identity(self) -> Split:
        """Returns the number of images and a fingerprint of their names, their label maps' names and the colours."""
        names = (*self.image_names.content(), *self.label_names.content())
        coded = [] if self.colours is None else [self.colours.content()]
        weights = [] if self.weights is None else [self.weights]
        return Split(len(self), fingerprint(*names, *coded, *weights))

    def lines(self) -> Iterator[str]:
        """Returns a text for each pair with the names of image and label map."""
        return (f"{image} {label}" for image, label in zip(self.image_names, self.label_names, strict=True))

    def take(self, indices: Sequence[int]) -> "Pairs":
        """Returns the pairs at these indices."""
        images, labels = (Names(names[i] for i in indices) for names in (self.image_names, self.label_names))
        weights = None if self.weights is None else self.weights[list(indices)]
        return Pairs(self.images, self.labels, images, labels, self.colours, weights)


class Paired(NamedTuple):
    """The result of pairing one split.

    Attributes:
        pairs: images with their label maps.
        problems: one line for each kind of file without a partner.
        notes: how files were paired, and what was left out.
    """

    pairs: Pairs
    problems: list[str]
    notes: list[str]


def pair_splits(root: Path) -> tuple[Paired, Paired | None]:
    """Pairs both splits; the second is None where the folder has no validation split.

    Raises:
        UserError: the folder does not have the expected form, or a split has no pair.
    """
    found = find_folders(root, holds_pairs)
    train, val = (pair_up(parts) if parts else None for parts in (found.train, found.val))
    assert train is not None
    if found.passed_over:
        train.notes.append(f"not used: {', '.join(found.passed_over)}")
    for parts, paired in ((found.train, train), (found.val, val)):
        if parts and paired and not len(paired.pairs):
            empty = f"{parts.images}: no images in it, {EXPECTED_IMAGES}"
            raise UserError(paired.problems[0] if paired.problems else empty)
    return train, val


def holds_pairs(folder: Path) -> bool:
    """Returns whether a folder is a whole data set of images with label maps, not one split of it."""
    if meaning(folder.name) != (None, None) and holds_pairs(folder.parent):
        return False
    try:
        return len(pair_up(find_folders(folder, lambda _: False).train).pairs) > 0
    except UserError:
        return False


def pair_up(parts: Parts) -> Paired:
    """Pairs files by their relative paths without suffix; if these differ, also without words such as `_mask`.

    Raises:
        UserError: label maps are JPEG files, or an image has several.
    """
    images, labels = parts.images, parts.labels
    (pictures, left_out), (maps, left_out_maps) = scan_images(images), scan_images(labels, arrays=False)
    if parts.stems is not None:
        pictures = [name for name in pictures if stem_of(name) in parts.stems]
    found = pair_names(pictures, maps, labels)
    require_lossless(labels, [label for _, label in found.pairs])
    pairs = Pairs(images, labels, Names(image for image, _ in found.pairs), Names(label for _, label in found.pairs))
    problems = _alone(images, found.lone_images, "label map", labels, found.lone_labels, left_out_maps)
    if not parts.shared:
        problems += _alone(labels, found.lone_labels, "image", images, found.lone_images, left_out)
    notes = [found.note] if found.note else []
    for folder, left in ((images, left_out), (labels, left_out_maps)):
        if left:
            notes.append(f"{folder.parent.name}/{folder.name}: {left.words()}")
    return Paired(pairs, problems, notes)


def require_lossless(folder: Path, names: Iterable[str]) -> None:
    """Refuses label maps that are JPEG files.

    Raises:
        UserError: with the first of them.
    """
    lossy = next((name for name in names if name.lower().endswith(LOSSY)), None)
    if lossy:
        raise UserError(f"{folder / lossy}: a label map as JPEG, which changes its values; save label maps as PNG")


def set_aside(paired: Paired, share: Share, held_out: Callable[[Pairs], np.ndarray]) -> tuple[Paired, Paired]:
    """Sets aside a part of the pairs for validation: a share as `listing.split`, a fold or groups as `held_out` says.

    Args:
        paired: all pairs.
        share: which of them.
        held_out: returns which pairs a fold or whole groups hold, [n] bool; it may read the label maps.
    """
    pairs = paired.pairs
    if share.fold is not None or share.group_pattern is not None:
        held = held_out(pairs)
        kept, taken = (pairs.take(np.flatnonzero(part).tolist()) for part in (~held, held))
        return Paired(kept, paired.problems, paired.notes), Paired(taken, [], [])
    order = {name: index for index, name in enumerate(pairs.image_names)}
    listing = Listing(pairs.images, ("image",), pairs.image_names, np.zeros(len(pairs), dtype=np.int32))
    train, val = (
        pairs.take([order[name] for name in part.names]) for part in split(listing, share.fraction, share.seed)
    )
    return Paired(train, paired.problems, paired.notes), Paired(val, [], [])


def _alone(
    folder: Path, names: list[str], lacking: str, other: Path, others: list[str], left_out: LeftOut
) -> list[str]:
    """Returns a line for files without a partner; `others` are the files without one in the folder `other`."""
    if not names:
        return []
    more = f" (and {len(names) - 1:,} more such files)" if names[1:] else ""
    wanted = f"{stem_of(names[0])}.{'png' if lacking == 'label map' else 'jpg'}"
    hint = nearest(wanted, others[:5_000])
    there = f" ({left_out.words()} there)" if left_out else ""
    line = f"{folder / names[0]}: no {lacking} for it{more}, expected {other / wanted}{there}{hint}"
    return [f"{line}; add it or remove this"]
