"""Segments images by the nearest patches of others: a bank of patches whose classes are known, and the votes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maekit.base.pixel_labels import PixelLabels, PixelMetric
from maekit.errors import UserError
from maekit.features.neighbours.knn import Neighbours, mean_of_neighbours, nearest_neighbours, vote
from maekit.features.patches.folder import PatchFolder
from maekit.features.patches.labels import class_shares, kept_patches, require_same_shape

STRIP_NUMBERS = 2**25  # scores interpolated at a time: a photograph of 150 classes whole would take gigabytes
QUERY_ROWS = 131072  # patches searched at a time: the bank is read once for each so many


class TakenRows:
    """Some rows of a memory-mapped array, read where they are asked for, so that a bank need not fit in memory.

    Args:
        features: [R, D].
        rows: [M] int64, in rising order.
    """

    ndim = 2

    def __init__(self, features: Tensor, rows: np.ndarray) -> None:
        self.features, self.rows = features, torch.from_numpy(rows)
        self.shape = torch.Size((len(rows), features.shape[1]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: slice) -> Tensor:
        return self.features[self.rows[place]]


@dataclass(frozen=True, eq=False)
class Bank:
    """Patches whose classes are known.

    Attributes:
        features: [M, D].
        shares: [M, C] float16, each class's share of a patch's pixels; or [M] int64, the class of most.
        num_classes: C.
        num_images: of how many images.
        num_known: patches with a class that these images have.
    """

    features: TakenRows
    shares: Tensor
    num_classes: int
    num_images: int
    num_known: int

    def scores(self, found: Neighbours, temperature: float | None) -> Tensor:
        """Returns each class's share of the votes, [Q, C] float32."""
        if self.shares.ndim == 1:
            return vote(found, self.shares, self.num_classes, temperature)
        return mean_of_neighbours(found, self.shares, temperature)


def make_bank(
    folder: PatchFolder, images: Sequence[int], maps: Sequence[int], labels: PixelLabels, *, soft: bool, most: int
) -> Bank:
    """Reads the label maps of images and keeps their patches with a class.

    Args:
        folder: the features.
        images: which of its images.
        maps: the number of each one's label map.
        labels: of the data.
        soft: whether a patch has a share of each of its classes, or all of the class of most pixels (of equally many
            the lower).
        most: patches of the bank; where there are more, each image gives its even part, see `kept_patches`.

    Raises:
        UserError: a label map cannot be used, or none has a pixel that counts.
    """
    count, whole = len(labels.class_names), int(np.diff(folder.starts)[list(images)].sum())
    quota = None if whole <= most else max(1, most // len(images))
    draws, rows, shares, known = np.random.default_rng(0), [], [], 0
    for image, number in zip(images, maps, strict=True):
        label = labels.read(number)
        require_same_shape(label, folder.size(image), folder.files[image])
        own = class_shares(label, folder.grid(image), count)
        kept = kept_patches(own, quota, draws)
        known += int(own.any(axis=1).sum())
        rows.append(folder.starts[image] + kept)
        shares.append(own[kept].astype(np.float16) if soft else own[kept].argmax(axis=1))
    if not known:
        raise UserError(f"{folder.path}: no pixel of the {len(images):,} label maps counts; give maps with classes")
    taken = TakenRows(folder.features, np.concatenate(rows))
    return Bank(taken, torch.from_numpy(np.concatenate(shares)), count, len(images), known)


def segment(
    folder: PatchFolder, images: Sequence[int], bank: Bank, neighbours: int, *, device: torch.device, batch: int
) -> Iterator[tuple[int, Neighbours]]:
    """Yields each of some images and the nearest patches of the bank to each of its patches, in their order.

    Args:
        folder: the features.
        images: which of its images.
        bank: where to search.
        neighbours: K.
        device: for the search.
        batch: patches compared at a time.

    Raises:
        UserError: as `nearest_neighbours`.
    """
    for part in _parts(folder, images):
        queries = torch.cat([folder.patches(image) for image in part]).to(device)
        found = nearest_neighbours(queries, bank.features, neighbours, batch=batch)
        first = 0
        for image in part:
            place = slice(first, first + len(folder.patches(image)))
            yield image, Neighbours(found.similarity[place], found.rows[place])
            first = place.stop


def label_map(scores: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Returns the class [H, W] int64 of each pixel: the patches' scores [h * w, C], interpolated bilinearly."""
    (height, width), maps = size, scores.T.reshape(-1, *grid)
    rows, wide = _linear(grid[0], height, scores), maps @ _linear(grid[1], width, scores).T
    strip = max(1, STRIP_NUMBERS // (len(maps) * width))
    return torch.cat([(part @ wide).argmax(dim=0) for part in torch.split(rows, strip)])


def _linear(cells: int, length: int, like: Tensor) -> Tensor:
    """Returns the weights [length, cells] by which a row of cells is interpolated linearly to so many pixels."""
    place = (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) * cells / length - 0.5
    cell = torch.arange(cells, device=like.device, dtype=like.dtype)
    return (1 - (place.clamp(0, cells - 1)[:, None] - cell).abs()).clamp(min=0)


def measure(
    folder: PatchFolder,
    maps: dict[int, int],
    bank: Bank,
    labels: PixelLabels,
    counts: Sequence[int],
    temperature: float | None,
    search: Callable[[int], Iterator[tuple[int, Neighbours]]],
) -> dict[int, dict[str, float]]:
    """Returns mIoU, mAcc and aAcc in percent, as a validation measures them, for each number of neighbours.

    Args:
        folder: the features of the images that are segmented.
        maps: number of the label map of each of its images that is.
        bank: patches that vote.
        labels: of the data.
        counts: numbers of neighbours.
        temperature: as `vote` takes it.
        search: yields images with their neighbours, of which it is given the number.
    """
    metrics: dict[int, PixelMetric] = {count: labels.new_metric() for count in counts}
    for image, found in search(max(counts)):
        label = labels.read(maps[image])
        require_same_shape(label, folder.size(image), folder.files[image])
        truth = torch.from_numpy(label).long()
        for count, metric in metrics.items():
            near = Neighbours(found.similarity[:, :count], found.rows[:, :count])
            scores = bank.scores(near, temperature)
            metric.update(label_map(scores, folder.grid(image), folder.size(image)).cpu(), truth)
    return {
        count: {name: float(value) for name, value in metric.compute().items()} for count, metric in metrics.items()
    }


def _parts(folder: PatchFolder, images: Sequence[int]) -> Iterator[list[int]]:
    """Yields images by turns, of about `QUERY_ROWS` patches together."""
    part: list[int] = []
    rows = 0
    for image in images:
        part.append(image)
        rows += len(folder.patches(image))
        if rows >= QUERY_ROWS:
            yield part
            part, rows = [], 0
    if part:
        yield part
