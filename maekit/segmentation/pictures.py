"""Draws labels as colours over the photograph, with a legend. Needs NumPy and Pillow only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maekit.drawing.legend import Entry, hatch, with_legend
from maekit.drawing.sheet import Row, Tile, picture_sheet
from maekit.drawing.text import Colour, plain_name
from maekit.drawing.views import LARGEST, resized, view_size
from maekit.errors import UserError
from maekit.system.size import HeightWidth

Labels = NDArray[np.integer]
Shares = NDArray[np.float64]
IGNORE = 255
_SMALL, _CELL, _NARROWEST, _MOST_CLASSES = 384, 400, 300, 24


def overlay(
    image: Image.Image,
    labels: Labels,
    palette: Sequence[Colour],
    names: Sequence[str],
    *,
    opacity: float = 0.5,
    largest: int = LARGEST,
    shares: Shares | None = None,
) -> Image.Image:
    """Returns the image with the colours of its labels over it, and below a legend of its classes by share of area.

    A large image is shrunk to `largest` pixels, a small one is enlarged by a whole factor. Ignored pixels are hatched.

    Args:
        image: of any mode and size.
        labels: [h, w], of the same scene at any resolution: 0 to C-1, or 255 for ignored.
        palette: C colours of red, green, blue in 0 to 255.
        names: C class names, of any length.
        opacity: of the colours, 0 to 1.
        largest: longest side in pixels.
        shares: what `label_shares` gives, where `labels` are only a sample; None to count them.

    Raises:
        UserError: a label outside its range, or another number of colours than of names.
    """
    counted = label_shares([labels], palette, names)
    size = view_size(image, enlarge_to=_SMALL, shrink_to=largest)
    picture = _coloured(image, labels, palette, size, opacity)
    return with_legend(picture, _entries([counted if shares is None else shares], palette, names), narrowest=_NARROWEST)


def panel(
    rows: Sequence[tuple[Image.Image, Labels, Labels]], palette: Sequence[Colour], names: Sequence[str]
) -> Image.Image:
    """Returns one picture with a row for each image: the image, its labels, and what was predicted.

    The legend shows each class's share of the labels' pixels and of the predictions'. Ignored pixels are hatched.

    Args:
        rows: image, labels [h, w] and predictions [h, w] of each row, as in `overlay`; at least one row.
        palette: C colours of red, green, blue in 0 to 255.
        names: C class names.

    Raises:
        UserError: as `overlay`.
    """
    truths = label_shares([truth for _, truth, _ in rows], palette, names)
    predictions = label_shares([predicted for *_, predicted in rows], palette, names)
    sheet = picture_sheet(
        [Row("", [Tile(cell) for cell in _cells(*row, palette)]) for row in rows],
        heads=("image", "truth", "prediction"),
        column=_NARROWEST // 3,
    )
    entries = _entries([truths, predictions], palette, names)
    heading = "share of the pixels in truth / in prediction:"
    return with_legend(sheet, entries, narrowest=_NARROWEST, heading=heading)


def training_panel(
    samples: Sequence[tuple[Image.Image, Labels]], palette: Sequence[Colour], names: Sequence[str]
) -> Image.Image:
    """Returns one picture of training crops with their labels beside them, two in a row, and a legend of the shares.

    Args:
        samples: image and labels [h, w] as in `overlay`; at least one.
        palette: C colours of red, green, blue in 0 to 255.
        names: C class names.
    """
    tiles = [Tile(cell) for image, labels in samples for cell in _cells(image, labels, labels, palette)[:2]]
    rows = [Row("", tiles[first : first + 4]) for first in range(0, len(tiles), 4)]
    heads = ("image", "labels") * (2 if len(samples) > 1 else 1)
    sheet = picture_sheet(rows, heads=heads, column=_NARROWEST // 3)
    shares = label_shares([labels for _, labels in samples], palette, names)
    return with_legend(sheet, _entries([shares], palette, names), narrowest=_NARROWEST, heading="share of the pixels:")


def label_shares(many: Sequence[Labels], palette: Sequence[Colour], names: Sequence[str]) -> Shares:
    """Returns each class's share of all pixels, 0 to 1, and last that of the ignored pixels: [C + 1].

    Raises:
        UserError: a label outside its range, or another number of colours than of names.
    """
    check_palette(palette, names)
    counts = np.zeros(len(names) + 1, dtype=np.int64)
    for labels in many:
        known = ((labels >= 0) & (labels < len(names))) | (labels == IGNORE)
        if not known.all():
            raise UserError(
                f"got label {labels[~known][0]}, expected 0 to {len(names) - 1} or {IGNORE} for ignored; check that "
                "the labels have the classes of the model"
            )
        counts += np.bincount(np.where(labels == IGNORE, len(names), labels).ravel(), minlength=len(counts))
    shares: Shares = counts / max(1, int(counts.sum()))
    return shares


def check_palette(palette: Sequence[Colour], names: Sequence[str]) -> None:
    """Raises a UserError unless there is one colour a class, and at most 255 classes."""
    if len(palette) != len(names) or len(names) > IGNORE:
        raise UserError(
            f"got {len(palette)} colours for {len(names)} classes, expected one each and at most {IGNORE} classes; "
            "mend the palette or the class list"
        )


def _entries(parts: Sequence[Shares], palette: Sequence[Colour], names: Sequence[str]) -> list[Entry]:
    """Returns one entry a class that occurs in a part, the largest first, with its share of each part."""
    total = np.sum(parts, axis=0)
    present = sorted(np.flatnonzero(total[:-1]).tolist(), key=lambda label: -total[label])
    listed, rest = present[:_MOST_CLASSES], present[_MOST_CLASSES:]
    entries = []
    for label in listed:
        red, green, blue = (int(value) for value in palette[label])
        share = _percent([part[label] for part in parts])
        entries.append(Entry(plain_name(names[label], label), share, (red, green, blue)))
    if rest:
        share = _percent([part[rest].sum() for part in parts])
        entries.append(Entry(f"and {len(rest)} more", share, swatch=False))
    if total[-1]:
        entries.append(Entry("ignored", _percent([part[-1] for part in parts])))
    return entries


def _percent(shares: Sequence[float]) -> str:
    numbers = ["<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}" for share in shares]
    return f"{' / '.join(numbers)} %"


def _coloured(
    image: Image.Image, labels: Labels, palette: Sequence[Colour], size: HeightWidth, opacity: float
) -> Image.Image:
    """Returns the image at a size with the colours of its labels over it, ignored pixels hatched."""
    flat = resized(image.convert("RGB"), size)
    small = np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(flat.size, Image.Resampling.NEAREST))
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    mixed = Image.blend(flat, Image.fromarray(table[small]), opacity)
    ignored = Image.fromarray(np.where(small == IGNORE, 255, 0).astype(np.uint8))
    # The gaps between the black stripes are grey, so that they are visible on a dark image.
    mixed.paste(Image.blend(flat, Image.new("RGB", flat.size, (190, 190, 190)), 0.6), (0, 0), ignored)
    stripes = np.minimum(np.asarray(ignored), np.asarray(hatch(size)))
    mixed.paste((0, 0, 0), (0, 0), Image.fromarray(stripes))
    return mixed


def _cells(image: Image.Image, truth: Labels, predicted: Labels, palette: Sequence[Colour]) -> list[Image.Image]:
    size = view_size(image, enlarge_to=_CELL, shrink_to=_CELL)
    coloured = [_coloured(image, labels, palette, size, 0.7) for labels in (truth, predicted)]
    return [resized(image.convert("RGB"), size), *coloured]
