"""Labels of an image that is larger than memory: made in stripes of columns, kept in a file."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maekit.segmentation.tiled.bands import PART_VALUES, Windows, finished_rows
from maekit.segmentation.tiled.rows import FileRows, columns_between
from maekit.segmentation.windows import scaled_size
from maekit.system.progress import Progress
from maekit.system.size import HeightWidth
from maekit.tiles.scaled import ScaledImage
from maekit.tiles.tiled_image import TiledImage

BAND_VALUES = 2**24  # logits that are summed at once: 64 MB
LEAST_WINDOWS = 2  # a stripe is at least so many windows wide: those at its edges are computed in two stripes


@dataclass(frozen=True, eq=False)
class TiledLabels:
    """The label of each pixel of a large image, in a file of one byte a pixel, row by row.

    Attributes:
        size: of the upright image in pixels.
        counts: int64 [C], the pixels of each class.
        file: is open; its bytes are the labels 0 to C-1.
    """

    size: HeightWidth
    counts: NDArray[np.int64]
    file: BinaryIO

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Returns the labels [stop - start, W] of some rows."""
        self.file.seek(start * self.size.width)
        data = self.file.read((stop - start) * self.size.width)
        return np.frombuffer(data, np.uint8).reshape(-1, self.size.width)


@dataclass(frozen=True)
class View:
    """One of the ways in which an image is shown to the network; see `windows.predict_labels`.

    Attributes:
        image: at the view's size.
        mirrored: left to right.
        times: how often the view counts.
    """

    image: ScaledImage
    mirrored: bool = False
    times: int = 1


@dataclass(frozen=True)
class Looks:
    """How a network looks at a large image.

    Attributes:
        windows: of the network.
        normalise: turns pixels [channels, h, w] of the file into the network's.
        scales: factors of the image's size that are averaged, see `windows.predict_labels`.
        flip: whether each is also seen mirrored.
        columns: the most columns of the file whose logits are summed at once; None for what 64 MB hold.
    """

    windows: Windows
    normalise: Callable[[Tensor], Tensor]
    scales: Sequence[float] = field(default=(1.0,))
    flip: bool = False
    columns: int | None = None

    def fitting(self, device: torch.device) -> "Looks":
        """Returns the same with fewer windows at once on a CPU, if their logits take more than 64 MB.

        Four windows of 512 pixels and 150 classes make 0.6 GB of them, and their band is taller: 1.95 GB at the peak
        instead of 1.19, in 15.1 s of a core instead of 16.1 (an image of 4,096 x 1,024 pixels, measured once).
        """
        windows = self.windows
        most = max(1, BAND_VALUES // (windows.num_classes * windows.window.height * windows.window.width))
        if device.type != "cpu" or windows.batch <= most:
            return self
        return replace(self, windows=replace(windows, batch=most))

    def views(self, image: TiledImage, scale: float) -> list[View]:
        """Returns the views of an image whose own size is multiplied by `scale`."""
        base = HeightWidth(*(max(1, int(side * scale + 0.5)) for side in image.size))
        sizes = Counter(scaled_size(base, factor, self.windows.window) for factor in self.scales)
        flips = (False, True) if self.flip else (False,)
        return [
            View(ScaledImage(image, size, rounded=size == base), mirrored, times)
            for size, times in sizes.items()
            for mirrored in flips
        ]


@torch.inference_mode()
def label_tiled(looks: Looks, image: TiledImage, scale: float, file: BinaryIO, device: torch.device) -> TiledLabels:
    """Labels an image of any size; the labels are those of `windows.predict_labels` on the whole image.

    Memory: sums of logits of a band of rows of some columns, and the rows of the image below it.

    Args:
        looks: how the network looks at it.
        image: is open.
        scale: factor by which the network sees the file's pixels enlarged.
        file: receives the labels.
        device: of the network.

    Raises:
        UserError: a tile of the image is damaged.
        OSError: the disk is full.
    """
    looks = looks.fitting(device)
    views = looks.views(image, scale)
    counts = np.zeros(looks.windows.num_classes, dtype=np.int64)
    stripes = _stripes(looks, views, image.size)
    ends = [_columns(view, image.size, stripe) for stripe in stripes for view in views]
    total = sum(
        len(looks.windows.places(view.image.size, *columns, mirrored=view.mirrored))
        for view, columns in zip(views * len(stripes), ends, strict=True)
    )
    with Progress("predict", total, "window") as progress:
        for stripe in stripes:  # in a function of its own: the sums of one stripe are freed before the next begins
            for start, found in _stripe_labels(looks, views, image.size, stripe, device, progress.advance):
                counts += np.bincount(found.ravel(), minlength=len(counts))
                _write(file, found, start, stripe[0], image.size.width)
    file.flush()
    return TiledLabels(image.size, counts, file)


def _stripe_labels(
    looks: Looks,
    views: Sequence[View],
    size: HeightWidth,
    stripe: tuple[int, int],
    device: torch.device,
    done: Callable[[int], None],
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yields the labels [h, w] of some rows of a stripe of columns, with the first of the rows, from top to bottom."""
    rows = [_file_rows(looks, view, size, stripe, device, done) for view in views]
    step = max(1, PART_VALUES // (looks.windows.num_classes * (stripe[1] - stripe[0])))
    for start in range(0, size.height, step):
        stop = min(start + step, size.height)
        yield start, _decided(views, [one.take(start, stop) for one in rows]).cpu().numpy().astype(np.uint8)


def _stripes(looks: Looks, views: Sequence[View], size: HeightWidth) -> list[tuple[int, int]]:
    """Divides the columns of a file into stripes of about the same width, whose sums of logits fit the memory."""
    most = looks.columns
    if most is None:
        windows, width = looks.windows, max(view.image.size.width for view in views)
        rows = windows.band_rows(max(1, width // windows.stride.width))
        fitting = BAND_VALUES // (windows.num_classes * rows * len(views)) * size.width // width
        most = max(fitting, LEAST_WINDOWS * windows.window.width * size.width // width, 1)
    number = -(-size.width // most)
    ends = [size.width * place // number for place in range(number + 1)]
    return list(pairwise(ends))


def _columns(view: View, size: HeightWidth, stripe: tuple[int, int]) -> tuple[int, int]:
    return columns_between(stripe, view.image.size.width, size.width)


def _file_rows(
    looks: Looks,
    view: View,
    size: HeightWidth,
    stripe: tuple[int, int],
    device: torch.device,
    done: Callable[[int], None],
) -> FileRows:
    strips = finished_rows(
        view.image.read,
        looks.normalise,
        view.image.size,
        _columns(view, size, stripe),
        looks.windows,
        device,
        mirrored=view.mirrored,
        done=done,
    )
    return FileRows(strips, view.image.size, size, stripe)


def _decided(views: Sequence[View], logits: Sequence[Tensor]) -> Tensor:
    """Returns the labels [h, w]: of one view the highest logit's, of several the highest mean softmax's."""
    if len(views) == 1:
        return logits[0].max(0).indices  # the first of equals as argmax, in a third of its time on a CPU
    total = torch.zeros_like(logits[0])
    for view, each in zip(views, logits, strict=True):
        total.add_(each.softmax(0), alpha=view.times)
    return total.max(0).indices


def _write(file: BinaryIO, labels: NDArray[np.uint8], top: int, left: int, width: int) -> None:
    if labels.shape[1] == width:
        file.seek(top * width)
        file.write(labels.tobytes())
        return
    for row, line in enumerate(labels, top):
        file.seek(row * width + left)
        file.write(line.tobytes())
