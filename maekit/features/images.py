"""Finds the images below a folder and the classes of their folders, and reads them in batches."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maekit.data.folders.file_names import EXPECTED_IMAGES, LeftOut
from maekit.data.folders.listing import Names, scan_images
from maekit.data.folders.splits import split_of
from maekit.data.images.decode import MEND, UPRIGHT
from maekit.data.images.reading_of import AnyReading
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError, nearest


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Every image below a folder, in the order of their relative paths.

    Attributes:
        root: the folder, absolute.
        names: relative paths.
        classes: sorted names of the folders directly in `root`, if there are two or more, every image lies in one and
            none is named like a split (`train`); else empty.
        note: a line for the user on why folders are not taken for classes; empty for none.
        left_out: other files among the images.
    """

    root: Path
    names: Names
    classes: tuple[str, ...]
    note: str
    left_out: LeftOut = field(default_factory=LeftOut)

    def __len__(self) -> int:
        return len(self.names)

    def labels(self, index: Sequence[int]) -> np.ndarray:
        """Returns the labels [n] int64 of images by their numbers, from their class folders."""
        number = {name: label for label, name in enumerate(self.classes)}
        return np.array([number[_top(self.names[i])] for i in index], dtype=np.int64)

    def fingerprint(self) -> str:
        """Returns a hash, 24 hex digits, of the relative paths in their order."""
        digest = blake2b(digest_size=12)
        for name in self.names:
            digest.update(os.fsencode(name) + b"\0")
        return digest.hexdigest()


def find_images(folder: Path) -> ImageFolder:
    """Lists the images below a folder at any depth, hidden ones left out.

    Raises:
        UserError: there is no such folder, it cannot be listed, or it holds no image.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file, expected a folder of images; give the folder it lies in")
    if not folder.is_dir():
        near = nearest(folder.name, [path.name for path in folder.parent.iterdir()]) if folder.parent.is_dir() else ""
        raise UserError(f"no folder {folder}{near or '; check the path'}")
    names, left_out = scan_images(folder)
    if not names:
        raise UserError(f"{folder}: no images in this folder or below, {EXPECTED_IMAGES}")
    classes, note = _classes(folder, names)
    return ImageFolder(folder.resolve(), Names(names), classes, note, left_out)


def _classes(folder: Path, names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    tops = {_top(name) if "/" in name else "" for name in names}
    if "" in tops or len(tops) < 2:
        return (), ""
    if splits := sorted(top for top in tops if split_of(top)):
        return (), f"no labels: {folder} holds {' and '.join(splits)}; for classes embed {folder / splits[0]} by itself"
    return tuple(sorted(tops)), ""


def _top(name: str) -> str:
    return name.partition("/")[0]


class Read(NamedTuple):
    """A batch of images.

    Attributes:
        total: how many there were.
        groups: those that could be read, [b, C, H, W] of one size each.
        places: for each group which of the readable images, from 0, its images are.
        skipped: number and reason of each image that could not be read.
    """

    total: int
    groups: list[Tensor]
    places: list[list[int]]
    skipped: list[tuple[int, str]]


class ImageReader(Dataset[tuple[int, Tensor | str]]):
    """The images of a folder as tensors; the reason in words for one that cannot be read.

    Args:
        folder: the images.
        transform: image as read to [C, S, S].
        reading: upright, and what is white, or which bands.
    """

    def __init__(self, folder: ImageFolder, transform: EvalTransform, reading: AnyReading = UPRIGHT) -> None:
        self.root, self.names, self.transform, self.reading = str(folder.root), folder.names, transform, reading

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        name = self.names[index]
        if "\n" in name:
            return index, "its name has a line break, which no list of files can hold; rename it"
        path = f"{self.root}/{name}"
        try:
            return index, self.prepare(self.reading(path), index)
        except UserError as error:
            return index, str(error).removeprefix(f"{path}: ").removesuffix(f"; {MEND}")

    def prepare(self, image: Image.Image | Tensor, index: int) -> Tensor:
        """Returns what the backbone is given of an image as read."""
        return self.transform(image)


def join(samples: list[tuple[int, Tensor | str]]) -> Read:
    """Stacks samples of `ImageReader` into a batch, those of one size together."""
    good = [image for _, image in samples if isinstance(image, Tensor)]
    bad = [(index, reason) for index, reason in samples if isinstance(reason, str)]
    places: dict[torch.Size, list[int]] = {}
    for place, image in enumerate(good):
        places.setdefault(image.shape, []).append(place)
    groups = [torch.stack([good[place] for place in same]) for same in places.values()]
    return Read(len(samples), groups, list(places.values()), bad)


def image_loader(reader: ImageReader, first: int, batch_size: int, num_workers: int, pin: bool) -> DataLoader[Read]:
    """Returns a loader of `Read` batches in order, from image number `first` on."""
    return DataLoader(
        reader,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=range(first, len(reader)),
        num_workers=num_workers,
        collate_fn=join,
        pin_memory=pin,
    )
