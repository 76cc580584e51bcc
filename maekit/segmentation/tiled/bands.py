"""Sums the logits of overlapping windows in a band of rows, and gives rows away as soon as they are finished."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.system.size import HeightWidth
from maekit.tiles.region import Region, starts, whole

PART_VALUES = 2**21  # mean logits that are given away at once: 8 MB


@dataclass(frozen=True)
class Windows:
    """How a network of one input size looks at an image; see `windows.slide`.

    Attributes:
        logits_of: windows [n, C, *window] on the device to logits [n, classes, *window].
        num_classes: of the logits.
        window: size of the network's input in pixels.
        stride: rows and columns from one window to the next.
        batch: windows in one call of the network.
    """

    logits_of: Callable[[Tensor], Tensor]
    num_classes: int
    window: HeightWidth
    stride: HeightWidth
    batch: int

    def places(self, size: HeightWidth, left: int, right: int, *, mirrored: bool = False) -> list[Region]:
        """Returns the windows of an image that touch the columns `left` to `right`, in the order they are computed.

        Where `mirrored` they are the windows of the mirrored image, in columns of the image itself: a window that is
        wider than the image begins left of it.
        """
        height, width = self.window
        tops, lefts = starts(size.height, height, self.stride.height), starts(size.width, width, self.stride.width)
        lefts = [size.width - width - first for first in lefts] if mirrored else lefts
        lefts = [first for first in lefts if first < right and first + width > left]
        return [Region(top, first, top + height, first + width) for top in tops for first in lefts]

    def band_rows(self, across: int) -> int:
        """Returns the most rows that the windows of one call reach, where `across` windows lie side by side."""
        return self.window.height + self.stride.height * -(-(self.batch - 1) // across)


class LogitBand:
    """Mean logits of a band of rows and columns, of which only the rows that windows still reach are held.

    Args:
        num_classes: C.
        left: the first column.
        right: behind the last column.
        rows: the most rows that are held at once.
        device: of the logits.
    """

    def __init__(self, num_classes: int, left: int, right: int, rows: int, device: torch.device) -> None:
        self.left, self.right, self.top, self.used = left, right, 0, 0
        self.total = torch.zeros((num_classes, rows, right - left), dtype=torch.float32, device=device)
        self.hits = self.total.new_zeros((rows, right - left))

    def add(self, place: Region, logits: Tensor) -> None:
        """Adds the logits [C, h, w] of a window, as far as it lies within the columns."""
        part = place.inside(Region(place.top, self.left, place.bottom, self.right))
        rows = slice(part.top - self.top, part.bottom - self.top)
        columns = slice(part.left - self.left, part.right - self.left)
        self.total[:, rows, columns].add_(logits[:, :, part.left - place.left : part.right - place.left])
        self.hits[rows, columns] += 1
        self.used = max(self.used, rows.stop)

    def take(self, bottom: int) -> Iterator[Tensor]:
        """Yields the mean logits [C, h, w] of the rows up to `bottom`, which no later window reaches, and drops them.

        They come a few rows at a time, so that there is no second copy of the band.
        """
        count = bottom - self.top
        step = max(1, PART_VALUES // self.total[:, 0].numel())
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            yield self.total[:, rows] / self.hits[rows]
        kept = self.used - count
        for plane in (*self.total, self.hits):  # one by one: rows move within the same memory, which needs a copy
            plane[:kept] = plane[count : self.used].clone()
            plane[kept : self.used] = 0
        self.top, self.used = bottom, kept


def finished_rows(
    read: Callable[[Region], Tensor],
    normalise: Callable[[Tensor], Tensor],
    size: HeightWidth,
    columns: tuple[int, int],
    windows: Windows,
    device: torch.device,
    *,
    mirrored: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> Iterator[Tensor]:
    """Yields the logits [C, h, w] of some columns of an image, from its top to its bottom, as they are finished.

    They are those of `windows.slide` on the whole image: the same windows, summed in the same order. Where the columns
    are all of the image the network is given the same windows at once, too.

    Args:
        read: returns pixels [h, w, channels] of a region within the image.
        normalise: turns pixels [channels, h, w] into the network's.
        size: of the image.
        columns: the first, and behind the last.
        windows: of the network.
        device: of the network.
        mirrored: whether the network sees the image mirrored left to right; the logits are of the image itself.
        done: is told of a number of windows that are done.
    """
    places = windows.places(size, *columns, mirrored=mirrored)
    across = sum(place.top == places[0].top for place in places)
    pixels = _Pixels(read, size, places[:across])
    band = LogitBand(windows.num_classes, *columns, windows.band_rows(across), device)
    for start in range(0, len(places), windows.batch):
        chosen = places[start : start + windows.batch]
        if chosen[0].top > band.top:
            yield from band.take(chosen[0].top)
        pixels.hold(chosen[0].top, chosen[-1].bottom)
        inputs = torch.stack([pixels.window(place, normalise) for place in chosen]).to(device, non_blocking=True)
        logits = windows.logits_of(inputs.flip(-1) if mirrored else inputs)
        if logits.shape != (expected := (len(chosen), windows.num_classes, *windows.window)):
            raise ValueError(f"got logits {tuple(logits.shape)}, expected {expected}")
        for place, part in zip(chosen, logits.flip(-1) if mirrored else logits, strict=True):
            band.add(place, part)
        del logits, part  # before the network makes the next ones: of 150 classes and 512 pixels they are 157 MB
        done(len(chosen))
    yield from band.take(size.height)


class _Pixels:
    """The rows of an image that the next windows need, each read once.

    Args:
        read: see `finished_rows`.
        size: of the image.
        across: the windows of one row of them.
    """

    def __init__(self, read: Callable[[Region], Tensor], size: HeightWidth, across: list[Region]) -> None:
        self.read, self.size = read, size
        self.left = max(min(place.left for place in across), 0)
        self.right = min(max(place.right for place in across), size.width)
        self.top = self.bottom = 0
        self.held: Tensor | None = None

    def hold(self, top: int, bottom: int) -> None:
        """Reads the rows up to `bottom` and drops those above `top`, neither of which ever moves up."""
        bottom = min(bottom, self.size.height)
        kept = None if self.held is None else self.held[top - self.top :]
        if bottom > self.bottom:
            new = self.read(Region(self.bottom, self.left, bottom, self.right))
            self.held = new if kept is None else torch.cat([kept, new])
            self.bottom = bottom
        else:
            self.held = kept
        self.top = top

    def window(self, place: Region, normalise: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the network's [C, h, w] of a window; beyond the image it is 0 in normalised pixels."""
        assert self.held is not None
        part = place.inside(whole(self.size))
        rows = slice(part.top - self.top, part.bottom - self.top)
        pixels = self.held[rows, part.left - self.left : part.right - self.left]
        inside = normalise(pixels.permute(2, 0, 1).contiguous())
        beyond = (part.left - place.left, place.right - part.right, 0, place.bottom - part.bottom)
        return F.pad(inside, beyond) if any(beyond) else inside
