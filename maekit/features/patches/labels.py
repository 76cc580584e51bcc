"""What label maps say of patches: the share of each class in the pixels that a patch covers."""

import numpy as np

from maekit.errors import UserError
from maekit.system.size import HeightWidth

IGNORED = 255


def class_shares(label: np.ndarray, grid: HeightWidth, num_classes: int) -> np.ndarray:
    """Returns each class's share [h * w, C] float32 of the pixels of each patch that count; 0 where none does.

    A pixel belongs to the patch in which its middle lies, whatever the sizes of label map and image.

    Args:
        label: [H, W] integers, 0 to C - 1; 255 is ignored.
        grid: patches (h, w).
        num_classes: C.
    """
    rows, columns = (_cell(length, cells) for length, cells in zip(label.shape, grid, strict=True))
    place = rows[:, None] * grid.width + columns
    counted = label != IGNORED
    cells = place[counted] * num_classes + label[counted].astype(np.int64)
    counts = np.bincount(cells, minlength=grid.height * grid.width * num_classes).reshape(-1, num_classes)
    shares: np.ndarray = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    return shares


def kept_patches(shares: np.ndarray, most: int | None, draws: np.random.Generator) -> np.ndarray:
    """Returns which patches of an image go into a bank, sorted: those with a class, and at most so many.

    Where there are more, patches of classes that few patches of the image have are taken first, at random: a patch's
    score is the number of patches that have each of its classes, summed, times a uniform draw, and the lowest stay.
    Source: vpariza/open-hummingbird-eval @ 0fd976f, hbird_eval.py, for arXiv 2306.01667.

    Args:
        shares: [P, C] of `class_shares`.
        most: of the patches; None for all.
        draws: of the choice.
    """
    rows = np.flatnonzero(shares.any(axis=1))
    if most is None or len(rows) <= most:
        return rows
    present = shares[rows] > 0
    score = present @ present.sum(axis=0) * draws.random(len(rows))
    return np.sort(rows[np.argsort(score, kind="stable")[:most]])


def require_same_shape(label: np.ndarray, size: HeightWidth, image: str) -> None:
    """Refuses a label map of another size than its image was embedded in.

    Raises:
        UserError: with both sizes.
    """
    if label.shape != size:
        raise UserError(
            f"{image}: its label map is {label.shape[1]} x {label.shape[0]} pixels, expected {size.width} x "
            f"{size.height} as the image, upright; make them equal (`maekit data check` finds all), and embed again"
        )


def _cell(length: int, cells: int) -> np.ndarray:
    """Returns the cell of each of so many pixels, [length] int64."""
    return (2 * np.arange(length) + 1) * cells // (2 * length)
