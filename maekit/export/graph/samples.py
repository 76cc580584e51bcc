"""The images that an exported file is compared on: of the run's validation, of a folder, or made noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maekit.base.data import TransferData
from maekit.base.exportable import Exportable, Inputs, as_inputs
from maekit.base.spec import Draw
from maekit.data.images.decode import UPRIGHT
from maekit.data.images.reading_of import reading_of


@dataclass(frozen=True)
class Samples:
    """Images to compare on.

    Attributes:
        batches: inputs: normalised images [b, C, H, W] and what goes with them.
        source: where they are from, in words.
        real: whether they are pictures.
    """

    batches: Sequence[Inputs]
    source: str
    real: bool

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(batch[0].shape[0] for batch in self.batches)


def validation_batches(data: TransferData, count: int | None, batch_size: int) -> Iterator[Any]:
    """Yields collated validation batches: `count` images evenly spread over the listing, or all of them."""
    images = data.val_dataset()
    total = len(images)
    most = total if count is None else min(count, total)
    places = [number * total // most for number in range(most)]
    for first in range(0, most, batch_size):
        draws = [Draw(0, place) for place in places[first : first + batch_size]]
        whole = getattr(images, "__getitems__", None)
        yield data.collate(whole(draws) if whole else [images[draw] for draw in draws])


def of_validation(data: TransferData, exportable: Exportable, count: int, batch_size: int) -> Samples:
    """Returns images of the validation split, prepared as the run evaluates them."""
    batches = validation_batches(data, count, batch_size)
    found = [as_inputs(images) for batch in batches for images in exportable.images_of(batch)]
    taken = sum(inputs[0].shape[0] for inputs in found)
    return Samples(found, f"{taken} of {len(data.val_dataset()):,} validation images", real=True)


def of_files(files: Sequence[Path], folder: Path, exportable: Exportable, count: int, batch_size: int) -> Samples:
    """Returns up to `count` images of a folder, evenly spread; raises the reading's UserError for a damaged one."""
    input = exportable.metadata.get("input")
    reading = reading_of(input) if isinstance(input, dict) else UPRIGHT
    most = min(count, len(files))
    chosen = [files[number * len(files) // most] for number in range(most)]
    groups: dict[torch.Size, list[Inputs]] = {}
    for file in chosen:
        inputs = as_inputs(exportable.prepare(reading(file)))
        groups.setdefault(inputs[0].shape, []).append(inputs)
    batches = [
        tuple(torch.stack(each) for each in zip(*group[first : first + batch_size], strict=True))
        for group in groups.values()
        for first in range(0, len(group), batch_size)
    ]
    return Samples(batches, f"{most} of {len(files):,} images in {folder}", real=True)


def of_noise(exportable: Exportable, count: int, batch_size: int) -> Samples:
    """Returns made images of normal noise, for where there are no pictures."""
    pieces = zip(*(torch.split(given, batch_size) for given in exportable.example(count)), strict=True)
    return Samples(list(pieces), f"{count} images of made noise", real=False)
