"""Segments an image of any size with a network of one input size: a window slides over it, and logits are averaged.

Window positions, averaging, resizing to the file's size and test-time augmentation are those of mmsegmentation 1.2.2
(EncoderDecoder.slide_inference, BaseSegmentor.postprocess_result, SegTTAModel).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.errors import UserError
from maekit.system.size import HeightWidth

STRIP_VALUES = 2**22  # logits that are resized at once: 16 MB


@torch.no_grad()
def slide(
    logits_of: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    num_classes: int,
    window: HeightWidth,
    stride: HeightWidth,
    batch: int,
) -> Tensor:
    """Returns logits [C, H, W] in fp32: the mean at each pixel over the windows that cover it.

    The last window of a row or column is shifted back into the image. A side shorter than the window is padded with
    zeros at the bottom or right, and the logits are cropped; mmsegmentation gives the network the smaller crop instead,
    which relative positions of a fixed grid do not support.

    Args:
        logits_of: windows [n, 3, *window], n at most `batch`, to logits [n, C, *window] of any float type.
        image: [3, H, W], float, normalised.
        num_classes: C.
        window: size of the network's input in pixels.
        stride: rows and columns from one window to the next, each from 1 to the window's.
        batch: number of windows in one call of the network.

    Raises:
        UserError: the stride or the batch is out of range.
        ValueError: the network's logits have another shape.
    """
    _check(window, stride, batch)
    height, width = image.shape[1:]
    padded, boxes = laid_out(image, window, stride)
    total = padded.new_zeros((num_classes, *padded.shape[1:]), dtype=torch.float32)
    hits = total.new_zeros(padded.shape[1:])
    for start in range(0, len(boxes), batch):
        chosen = boxes[start : start + batch]
        logits = logits_of(torch.stack([padded[:, rows, columns] for rows, columns in chosen]))
        if logits.shape != (expected := (len(chosen), num_classes, *window)):
            raise ValueError(f"got logits {tuple(logits.shape)}, expected {expected}")
        for (rows, columns), part in zip(chosen, logits, strict=True):
            total[:, rows, columns] += part
            hits[rows, columns] += 1
    return total.div_(hits)[:, :height, :width]


def laid_out(image: Tensor, window: HeightWidth, stride: HeightWidth) -> tuple[Tensor, list[tuple[slice, slice]]]:
    """Returns an image [C, H, W], padded with zeros to a window at least, and the rows and columns of each window."""
    height, width = image.shape[1:]
    padded = F.pad(image, (0, max(window[1] - width, 0), 0, max(window[0] - height, 0)))
    tops, lefts = (_starts(*sides) for sides in zip(padded.shape[1:], window, stride, strict=True))
    return padded, [(slice(top, top + window[0]), slice(left, left + window[1])) for top in tops for left in lefts]


def resized_logits(logits: Tensor, size: HeightWidth) -> Tensor:
    """Returns logits [C, h, w] at another size: bilinear, align_corners False, no antialiasing."""
    return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]


@torch.no_grad()
def predict_labels(
    logits_of: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    size: HeightWidth,
    num_classes: int,
    window: HeightWidth,
    stride: HeightWidth,
    batch: int,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    strip_values: int = STRIP_VALUES,
) -> Tensor:
    """Returns the most likely class of each pixel, int64 [h, w] of `size`, the size of the image's file.

    A view is the image at one scale, mirrored or not. Of a single view the resized logits decide; of several the mean
    softmax of their resized logits, as in SegTTAModel. A view is resized (bilinear) from `image`, not from the file. No
    scale makes a side shorter than the window (min_size of mmsegmentation 0.x); a side that is shorter keeps its size.

    Memory: the logits of one view, and strips of them at the file's size; several views add one fp32 sum [C, h, w].

    Args:
        logits_of, num_classes, window, stride, batch: see `slide`.
        image: [3, H, W], float, normalised.
        size: of the result in pixels.
        scales: factors of the image's height and width, above 0.
        flip: whether each scale is also evaluated mirrored left to right.
        strip_values: logits that are resized at once, see `resized_strips`.

    Raises:
        UserError: no scale, or one that is not above 0; or as `slide`.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"got scales {list(scales)}, expected one or more, each above 0; change the scales")
    # Scales that are limited by the window's size give the same view, which then counts several times.
    views = Counter(scaled_size(HeightWidth(*image.shape[1:]), scale, window) for scale in scales)
    total: Tensor | None = None
    labels = torch.empty(size, dtype=torch.int64, device=image.device)
    for view, times in views.items():
        for mirrored in (False, True) if flip else (False,):
            resized = image if view == tuple(image.shape[1:]) else resized_logits(image, view)
            resized = resized.flip(-1) if mirrored else resized
            logits = slide(logits_of, resized, num_classes=num_classes, window=window, stride=stride, batch=batch)
            logits = logits.flip(-1) if mirrored else logits
            if len(views) == 1 and not flip:
                for rows, strip in resized_strips(logits, size, strip_values):
                    labels[rows] = strip.argmax(0)
                return labels
            if total is None:
                total = logits.new_zeros((num_classes, *size))
            for rows, strip in resized_strips(logits, size, strip_values):
                total[:, rows].add_(strip.softmax(0), alpha=times)
    assert total is not None
    return torch.argmax(total, 0, out=labels)


def resized_strips(logits: Tensor, size: HeightWidth, max_values: int = STRIP_VALUES) -> Iterator[tuple[slice, Tensor]]:
    """Yields `resized_logits(logits, size)` in strips of rows, top to bottom: the rows, and [C, rows, w].

    A strip needs little memory where the whole of a 24-megapixel photograph with 150 classes needs 14 GB. Values equal
    the whole's but for the last bit of a row's position, in which torch's own kernels differ among themselves.

    Args:
        logits: [C, h, w].
        size: of the result in pixels.
        max_values: logits of one strip.
    """
    height, width = size
    num_rows = max(1, max_values // (logits.shape[0] * max(width, logits.shape[2])))
    scale = torch.tensor(logits.shape[1] / height, dtype=torch.float32)
    for start in range(0, height, num_rows):
        rows = torch.arange(start, min(start + num_rows, height))
        # In fp32 and in this order, as torch computes it: float64 would differ by 1e-4 of a row in the last rows.
        position = (scale * (rows + 0.5) - 0.5).clamp(min=0)
        upper = position.long().clamp(max=logits.shape[1] - 1)
        lower = (upper + 1).clamp(max=logits.shape[1] - 1)
        first, last = int(upper[0]), int(lower[-1]) + 1
        wide = resized_logits(logits[:, first:last], HeightWidth(last - first, width))
        weight = (position - upper).to(logits.device, non_blocking=True)[:, None]
        above, below = (wide[:, (index - first).to(logits.device, non_blocking=True)] for index in (upper, lower))
        yield slice(start, start + len(rows)), above.mul_(1 - weight).add_(below.mul_(weight))


def scaled_size(size: HeightWidth, scale: float, window: HeightWidth) -> HeightWidth:
    """Returns an image's size at a scale, no smaller than the window unless the image itself is."""
    limited = max(scale, min(1.0, max(window.height / size.height, window.width / size.width)))
    return HeightWidth(max(1, int(size.height * limited + 0.5)), max(1, int(size.width * limited + 0.5)))


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Returns the first row (or column) of each window along a side that is no shorter than the window."""
    steps = (length - window + stride - 1) // stride + 1
    return [min(step * stride, length - window) for step in range(steps)]


def _check(window: HeightWidth, stride: HeightWidth, batch: int) -> None:
    if not all(1 <= step <= side for step, side in zip(stride, window, strict=True)):
        raise UserError(
            f"got a stride of {stride[0]} x {stride[1]} for a window of {window[0]} x {window[1]} pixels, expected 1 "
            "to the window's side in each; a larger one leaves pixels without a window"
        )
    if batch < 1:
        raise UserError(f"got {batch} windows at once, expected 1 or more; set their number to at least 1")
