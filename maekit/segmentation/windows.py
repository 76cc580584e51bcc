"""Segmenting an image of any size with a network of one input size: a window slides over it, and logits are averaged.

Placement, averaging, resizing to the file's own size and test-time augmentation are those of mmsegmentation 1.2.2
(EncoderDecoder.slide_inference, BaseSegmentor.postprocess_result, SegTTAModel).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.errors import UserError

Size = tuple[int, int]
_STRIP_VALUES = 2**22  # logits resized at once: 16 MB


@torch.no_grad()
def slide(
    logits_of: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    num_classes: int,
    window: Size,
    stride: Size,
    batch: int,
) -> Tensor:
    """Returns logits [C, H, W] in fp32: at each pixel the mean over the windows that cover it.

    The last windows of a row or column are shifted back inside. A side shorter than the window is padded with zeros
    at the bottom or right, and the logits are cropped back; mmsegmentation gives the network the smaller crop instead,
    which relative positions of a fixed grid cannot take.

    Args:
        logits_of: windows [n, 3, *window], n at most `batch`, to logits [n, C, *window] of any float type.
        image: [3, H, W], float, as the network wants it.
        num_classes: C.
        window: height and width in pixels of what the network takes.
        stride: rows and columns from one window to the next, each from 1 to the window's.
        batch: windows given to the network at once.

    Raises:
        UserError: a stride or batch out of range.
        ValueError: the network's logits have another shape.
    """
    _check(window, stride, batch)
    height, width = image.shape[1:]
    padded = F.pad(image, (0, max(window[1] - width, 0), 0, max(window[0] - height, 0)))
    total = padded.new_zeros((num_classes, *padded.shape[1:]), dtype=torch.float32)
    hits = total.new_zeros(padded.shape[1:])
    boxes = list(_boxes((padded.shape[1], padded.shape[2]), window, stride))
    for start in range(0, len(boxes), batch):
        some = boxes[start : start + batch]
        logits = logits_of(torch.stack([padded[:, rows, columns] for rows, columns in some]))
        if logits.shape != (expected := (len(some), num_classes, *window)):
            raise ValueError(f"got logits {tuple(logits.shape)}, expected {expected}")
        for (rows, columns), part in zip(some, logits, strict=True):
            total[:, rows, columns] += part
            hits[rows, columns] += 1
    return total.div_(hits)[:, :height, :width]


def resized_logits(logits: Tensor, size: Size) -> Tensor:
    """Returns logits [C, H, W] at another height and width: bilinear, corners not aligned, no antialiasing."""
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


@torch.no_grad()
def predict_labels(
    logits_of: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    size: Size,
    num_classes: int,
    window: Size,
    stride: Size,
    batch: int,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Tensor:
    """Returns the best class of each pixel, int64 [h, w] of `size`, the file's own height and width.

    One scale without mirroring takes the best of the resized logits. More average the softmax of the resized logits
    of each view, as SegTTAModel does. A view is resized (bilinear) from `image`, not again from the file. No scale
    makes a side shorter than the window (min_size of mmsegmentation 0.x), and one that is shorter already stays.

    Beside the logits of one view, one scale keeps only strips at the file's size; several views keep one
    fp32 sum [C, h, w].

    Args:
        logits_of, num_classes, window, stride, batch: see `slide`.
        image: [3, H, W], float.
        size: height and width in pixels of the result.
        scales: factors of the image's height and width, above 0.
        flip: whether each scale is also seen mirrored left to right.

    Raises:
        UserError: no scale, or one that is not above 0; what `slide` refuses.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"got scales {list(scales)}, expected one or more, each above 0; change the scales")
    # Scales held at the window's size are one view that counts several times.
    views = Counter(scaled_size((image.shape[1], image.shape[2]), scale, window) for scale in scales)
    total: Tensor | None = None
    labels = torch.empty(size, dtype=torch.int64, device=image.device)
    for view, times in views.items():
        for mirrored in (False, True) if flip else (False,):
            seen = _view(image, view, mirrored=mirrored)
            logits = slide(logits_of, seen, num_classes=num_classes, window=window, stride=stride, batch=batch)
            logits = logits.flip(-1) if mirrored else logits
            if len(views) == 1 and not flip:
                for rows, strip in resized_strips(logits, size):
                    labels[rows] = strip.argmax(0)
                return labels
            if total is None:
                total = logits.new_zeros((num_classes, *size))
            for rows, strip in resized_strips(logits, size):
                total[:, rows].add_(strip.softmax(0), alpha=times)
    assert total is not None
    return torch.argmax(total, 0, out=labels)


def resized_strips(logits: Tensor, size: Size) -> Iterator[tuple[slice, Tensor]]:
    """Yields `resized_logits(logits, size)` in strips of rows, top to bottom: the rows, and [C, rows, w].

    Equal to the whole but for the last bit of a row's position, in which torch's own kernels differ, and needs a
    strip's memory where a 24-megapixel photograph with 150 classes would need 14 GB.
    """
    height, width = size
    num_rows = max(1, _STRIP_VALUES // (logits.shape[0] * max(width, logits.shape[2])))
    scale = torch.tensor(logits.shape[1] / height, dtype=torch.float32)
    for start in range(0, height, num_rows):
        rows = torch.arange(start, min(start + num_rows, height))
        # In fp32, in this order, as the whole is resized: float64 would differ by 1e-4 of a row far down.
        position = (scale * (rows + 0.5) - 0.5).clamp(min=0)
        upper = position.long().clamp(max=logits.shape[1] - 1)
        lower = (upper + 1).clamp(max=logits.shape[1] - 1)
        first, last = int(upper[0]), int(lower[-1]) + 1
        wide = resized_logits(logits[:, first:last], (last - first, width))
        weight = (position - upper).to(logits.device)[:, None]
        above, below = (wide[:, (index - first).to(logits.device)] for index in (upper, lower))
        yield slice(start, start + len(rows)), above.mul_(1 - weight).add_(below.mul_(weight))


def scaled_size(size: Size, scale: float, window: Size) -> Size:
    """Returns height and width at a scale, held at the window's size where that is smaller than the image's."""
    held = max(scale, min(1.0, max(window[0] / size[0], window[1] / size[1])))
    return max(1, int(size[0] * held + 0.5)), max(1, int(size[1] * held + 0.5))


def _view(image: Tensor, size: Size, *, mirrored: bool) -> Tensor:
    seen = image if size == tuple(image.shape[1:]) else resized_logits(image, size)
    return seen.flip(-1) if mirrored else seen


def _boxes(size: Size, window: Size, stride: Size) -> Iterator[tuple[slice, slice]]:
    """Yields the rows and columns of each window, row by row, for an image no smaller than the window."""
    for top in _starts(size[0], window[0], stride[0]):
        for left in _starts(size[1], window[1], stride[1]):
            yield slice(top, top + window[0]), slice(left, left + window[1])


def _starts(length: int, window: int, stride: int) -> list[int]:
    steps = (length - window + stride - 1) // stride + 1
    return [min(step * stride, length - window) for step in range(steps)]


def _check(window: Size, stride: Size, batch: int) -> None:
    if not all(1 <= step <= side for step, side in zip(stride, window, strict=True)):
        raise UserError(
            f"got a stride of {stride[0]} x {stride[1]} for a window of {window[0]} x {window[1]} pixels, expected 1 "
            "to the window's side in each; a larger one leaves pixels without a window"
        )
    if batch < 1:
        raise UserError(f"got {batch} windows at once, expected 1 or more; set their number to at least 1")
