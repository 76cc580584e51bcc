"""Cross entropy of every pixel, from logits smaller than the labels, without holding the resized logits in memory."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from maekit.segmentation.head.resized_conv import resize_matrix

STRIP_VALUES = 8 * 512 * 150  # logits of a strip on a CPU: 8 rows of 512 pixels and 150 classes fit its caches


def pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    ignore: int = 255,
    strip_values: int = STRIP_VALUES,
) -> Tensor:
    """Returns the mean cross entropy of logits resized (bilinear, align_corners False) to the labels' size, in float32.

    The sum over the counted pixels is divided by the number of ALL pixels, ignored ones included, as mmsegmentation
    does by default (`avg_non_ignore=False`): an image with much ignored area weighs less, and one without a counted
    pixel gives 0. Loss and gradient of the small logits are computed together in strips of rows, so neither the resized
    logits nor their gradient exists as a whole. It cannot be differentiated twice.

    Args:
        logits: [B, C, h, w].
        labels: int64 [B, H, W], classes 0 to C - 1 or `ignore`.
        weights: [C], by which the loss of a pixel of each class is multiplied; the divisor stays, as with
            mmsegmentation's `class_weight`. None for none.
        ignore: the label of pixels that do not count.
        strip_values: logits of a strip on a CPU; an accelerator takes the whole image at once.
    """
    with torch.autocast(logits.device.type, enabled=False):
        loss: Tensor = _PixelLoss.apply(logits.float(), labels, weights, ignore, strip_values)
    return loss


class _Context(Protocol):
    """What autograd hands to the two passes of a function."""

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _PixelLoss(torch.autograd.Function):
    """Computes loss and gradient in the forward pass, and keeps the gradient for the backward pass."""

    @staticmethod
    def forward(
        ctx: _Context, logits: Tensor, labels: Tensor, weights: Tensor | None, ignore: int, strip_values: int
    ) -> Tensor:
        with_gradient = ctx.needs_input_grad[0]
        total = logits.new_zeros(())
        gradient = torch.empty_like(logits) if with_gradient else None
        for number, (image, label) in enumerate(zip(logits, labels, strict=True)):
            pixels = image.permute(1, 2, 0).contiguous()
            loss, pixels_gradient = _image_loss(pixels, label, weights, ignore, strip_values, with_gradient)
            total += loss
            if gradient is not None:
                gradient[number] = pixels_gradient.permute(2, 0, 1)
        if gradient is not None:
            ctx.save_for_backward(gradient.div_(labels.numel()))
        return total / labels.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None, None


def _image_loss(
    image: Tensor, label: Tensor, weights: Tensor | None, ignore: int, strip_values: int, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """Returns the summed loss of logits [h, w, C] with label [H, W], and its gradient; zeros unless `with_gradient`."""
    rows = resize_matrix(image.shape[0], label.shape[0], image)
    columns = resize_matrix(image.shape[1], label.shape[1], image)
    wide = (columns @ image).flatten(1)  # [h, W * C]
    gradient = torch.zeros_like(wide)
    total = image.new_zeros(())
    for new, old in _strips(label, image.shape[0], image.shape[2], strip_values):
        strip = rows[new, old]
        logits = (strip @ wide[old]).view(-1, image.shape[2])
        loss, logits_gradient = _pixels_loss(logits, label[new].reshape(-1), weights, ignore)
        total += loss
        if with_gradient:
            gradient[old].addmm_(strip.T, logits_gradient.view(len(strip), -1))
    return total, columns.T @ gradient.view(len(gradient), len(columns), -1)


def _pixels_loss(logits: Tensor, label: Tensor, weights: Tensor | None, ignore: int) -> tuple[Tensor, Tensor]:
    """Returns the summed loss of pixels [N, C] with labels [N], and its gradient: softmax minus one-hot."""
    counted = label != ignore
    true = label.where(counted, 0)[:, None]
    log_probabilities = logits.log_softmax(1)
    share = counted if weights is None else counted * weights[true[:, 0]]
    loss = -(log_probabilities.gather(1, true)[:, 0] * share).sum()
    gradient = log_probabilities.exp_()
    gradient.scatter_add_(1, true, gradient.new_full((1, 1), -1.0).expand_as(true))
    return loss, gradient.mul_(share[:, None])


def _strips(label: Tensor, old_height: int, classes: int, strip_values: int) -> Iterator[tuple[slice, slice]]:
    """Yields strips of label rows, and the rows of the small image that each depends on."""
    height, width = label.shape
    step = max(strip_values // (width * classes), 1) if label.is_cpu else height
    for start in range(0, height, step):
        stop = min(start + step, height)
        first, last = (row * old_height // height for row in (start, stop))
        yield slice(start, stop), slice(max(first - 2, 0), min(last + 3, old_height))
