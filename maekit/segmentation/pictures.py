"""Draws labels as colours over the photograph, with a legend. Needs NumPy and Pillow only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from maekit.drawing.legend import INK, LARGEST, PAPER, Colour, Entry, draw_legend, font_for, hatch, plain_name
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
) -> Image.Image:
    """Returns the image with the colours of its labels over it, and below a legend of its classes by share of area.

    A large image is shrunk to 1600 pixels, a small one is enlarged by a whole factor. Ignored pixels are hatched.

    Args:
        image: of any mode and size.
        labels: [h, w], of the same scene at any resolution: 0 to C-1, or 255 for ignored.
        palette: C colours of red, green, blue in 0 to 255.
        names: C class names, of any length.
        opacity: of the colours, 0 to 1.

    Raises:
        UserError: a label outside its range, or another number of colours than of names.
    """
    shares = label_shares([labels], palette, names)
    picture = _coloured(image, labels, palette, _view_size(image, _SMALL, LARGEST), opacity)
    return _with_legend(picture, _entries([shares], palette, names))


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
    cells = [_cells(*row, palette) for row in rows]
    width = max(max(cell[0].width for cell in cells), _NARROWEST // 3)
    gap = 8
    font, size = font_for(3 * width)
    grid = Image.new("RGB", (3 * width + 2 * gap, sum(row[0].height + gap for row in cells) + 2 * size), PAPER)
    draw = ImageDraw.Draw(grid)
    for column, title in enumerate(("image", "truth", "prediction")):
        draw.text((column * (width + gap) + width // 2, size), title, INK, font, anchor="mm")
    top = 2 * size
    for row in cells:
        for column, cell in enumerate(row):
            grid.paste(cell, (column * (width + gap) + (width - cell.width) // 2, top))
        top += row[0].height + gap
    entries = _entries([truths, predictions], palette, names)
    return _with_legend(grid, entries, "share of the pixels in truth / in prediction:")


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
    flat = _resized(image, size)
    small = np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(flat.size, Image.Resampling.NEAREST))
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = palette
    mixed = Image.blend(flat, Image.fromarray(table[small]), opacity)
    ignored = Image.fromarray(np.where(small == IGNORE, 255, 0).astype(np.uint8))
    # The gaps between the black stripes are grey, so that they are visible on a dark image.
    mixed.paste(Image.blend(flat, Image.new("RGB", flat.size, (190, 190, 190)), 0.6), (0, 0), ignored)
    stripes = np.minimum(np.asarray(ignored), np.asarray(hatch(flat.size)))
    mixed.paste((0, 0, 0), (0, 0), Image.fromarray(stripes))
    return mixed


def _cells(image: Image.Image, truth: Labels, predicted: Labels, palette: Sequence[Colour]) -> list[Image.Image]:
    size = _view_size(image, _CELL, _CELL)
    return [_resized(image, size), *(_coloured(image, labels, palette, size, 0.7) for labels in (truth, predicted))]


def _resized(image: Image.Image, size: HeightWidth) -> Image.Image:
    """Returns the RGB image at a size; the pixels of an enlarged one stay squares."""
    enlarged = size.height >= image.height and size.width >= image.width
    resampling = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return image.convert("RGB").resize((size.width, size.height), resampling)


def _view_size(image: Image.Image, small: int, largest: int) -> HeightWidth:
    """Returns the image's size shrunk so that no side is over `largest`, or enlarged by a whole factor to `small`."""
    longest = max(image.size)
    if longest > largest:
        height, width = (max(1, round(side * largest / longest)) for side in (image.height, image.width))
        return HeightWidth(height, width)
    factor = max(1, small // longest)
    return HeightWidth(image.height * factor, image.width * factor)


def _with_legend(picture: Image.Image, entries: Sequence[Entry], heading: str = "") -> Image.Image:
    width = max(picture.width, _NARROWEST)
    legend = draw_legend(entries, width, heading)
    whole = Image.new("RGB", (width, picture.height + legend.height), PAPER)
    whole.paste(picture, ((width - picture.width) // 2, 0))
    whole.paste(legend, (0, picture.height))
    return whole
