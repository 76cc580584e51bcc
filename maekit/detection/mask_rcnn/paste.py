"""Draws masks, given inside boxes, into whole images."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.system.size import HeightWidth

_VALUES = 2**26  # sampled at once: 256 MB, and twice that for where to sample


@torch.no_grad()
def paste_masks(masks: Tensor, boxes: Tensor, size: HeightWidth, *, at_once: int | None = None) -> Tensor:
    """Resizes each mask to its box (bilinear, at the centres of pixels) and returns the pixels of each object.

    As in detectron2 the box is not rounded, and a pixel belongs to the object from a probability of 0.5 on.

    Args:
        masks: float [K, M, M], probabilities.
        boxes: float [K, 4], x0 y0 x1 y1 in pixels, none empty; on any device.
        size: of the image.
        at_once: masks that are resized to the whole image at once; None to choose: on an accelerator as many as its
            memory allows, on a CPU each mask alone and only to the pixels around its box.

    Returns:
        bool [K, height, width].
    """
    if at_once is None and masks.device.type != "cpu":
        at_once = max(_VALUES // (size.height * size.width), 1)
    boxes = boxes.to(masks.device, non_blocking=True)
    pasted = torch.zeros(len(masks), *size, dtype=torch.bool, device=masks.device)
    for rows, y, x in _parts(boxes, size, at_once):
        sampled = F.grid_sample(masks[rows, None].float(), _grid(boxes[rows].float(), y, x), align_corners=False)
        pasted[rows, y, x] = sampled[:, 0] >= 0.5
    return pasted


def _parts(boxes: Tensor, size: HeightWidth, at_once: int | None) -> Iterator[tuple[slice, slice, slice]]:
    """Yields the boxes to paste at once, and the rows and columns of the image that they are pasted into.

    Without `at_once` each box alone, into the pixels it may touch: outside it no probability reaches 0.5.
    """
    height, width = size
    if at_once is not None:
        for start in range(0, len(boxes), at_once):
            yield slice(start, start + at_once), slice(0, height), slice(0, width)
        return
    for row, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        y = slice(max(int(y0) - 1, 0), min(int(y1) + 2, height))
        x = slice(max(int(x0) - 1, 0), min(int(x1) + 2, width))
        yield slice(row, row + 1), y, x


def _grid(boxes: Tensor, rows: slice, columns: slice) -> Tensor:
    """Returns [k, h, w, 2], the places of an image's pixels in the masks, from -1 to 1."""
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    y = torch.arange(rows.start, rows.stop, device=boxes.device, dtype=torch.float32) + 0.5
    x = torch.arange(columns.start, columns.stop, device=boxes.device, dtype=torch.float32) + 0.5
    y, x = (y - y0) / (y1 - y0) * 2 - 1, (x - x0) / (x1 - x0) * 2 - 1
    shape = (len(boxes), y.shape[1], x.shape[1])
    return torch.stack((x[:, None, :].expand(shape), y[:, :, None].expand(shape)), -1)
