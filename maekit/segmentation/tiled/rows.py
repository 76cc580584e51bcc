"""Rows of logits at the size of the file, asked for from top to bottom."""

from collections.abc import Iterator

import torch
from torch import Tensor

from maekit.system.size import HeightWidth
from maekit.tiles.scaled import Between, between, interpolated


def columns_between(columns: tuple[int, int], width: int, file_width: int) -> tuple[int, int]:
    """Returns the first and the end of an image's columns from which some columns of its file are interpolated."""
    if width == file_width:
        return columns
    lower, upper, _ = between(*columns, file_width, width)
    return int(lower[0]), int(upper[-1]) + 1


class FileRows:
    """Resizes logits that come in strips to the size of the file; see `windows.resized_strips`.

    Args:
        strips: [C, h, w] of the columns `columns_between` gives, from the image's top to its bottom.
        size: of the image that the network saw.
        file_size: of the file.
        columns: the first, and behind the last, of the file.
    """

    def __init__(
        self, strips: Iterator[Tensor], size: HeightWidth, file_size: HeightWidth, columns: tuple[int, int]
    ) -> None:
        self.strips, self.size, self.file_size = strips, size, file_size
        self.top, self.held = 0, next(strips)
        self.columns: Between | None = None
        if size != file_size:
            first, _ = columns_between(columns, size.width, file_size.width)
            lower, upper, weight = between(*columns, file_size.width, size.width)
            self.columns = lower - first, upper - first, weight

    def take(self, start: int, stop: int) -> Tensor:
        """Returns logits [C, stop - start, w] of rows of the file; `start` never moves up."""
        if self.columns is None:
            self._hold(start, stop)
            return self.held[:, : stop - start]
        lower, upper, weight = between(start, stop, self.file_size.height, self.size.height)
        self._hold(int(lower[0]), int(upper[-1]) + 1)
        wide = interpolated(self.held[:, : int(upper[-1]) + 1 - self.top], self.columns, 2)
        return interpolated(wide, (lower - self.top, upper - self.top, weight), 1)

    def _hold(self, top: int, bottom: int) -> None:
        parts = [self.held[:, top - self.top :]]
        end = self.top + self.held.shape[1]
        while end < bottom:
            parts.append(next(self.strips))
            end += parts[-1].shape[1]
        self.held = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        self.top = top
