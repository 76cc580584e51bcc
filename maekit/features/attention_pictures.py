"""Draws attention: where the class token or the patches look, each head, and patch features in colour."""

import numpy as np
from PIL import Image
from torch import Tensor

from maekit.data.images.bands.pixels import resize, size_of
from maekit.data.images.transforms import BICUBIC
from maekit.drawing.sheet import GAP, Tile, contact_sheet, stacked
from maekit.system.size import HeightWidth

Picture = Image.Image | Tensor
LONGEST_ASPECT = 4
NEAREST = Image.Resampling.NEAREST
_LARGE, _HEADS_A_ROW = 384, 8
# Black, violet, red, orange, light yellow: it grows brighter all the way, and no two values share a colour.
_HEAT = np.array([(0, 0, 4), (81, 18, 124), (183, 55, 84), (252, 137, 20), (252, 253, 191)], dtype=np.float64)


def whole_view(image: Picture, size: int | HeightWidth, patch_size: int) -> Picture:
    """Returns an image as the backbone is given it.

    Args:
        image: RGB, or pixels [H, W, C] of bands.
        size: of the short side in pixels, where the whole image is shown (up to four times as long as wide) and both
            sides are rounded to whole patches; or height and width, where the centre is cut out.
        patch_size: in pixels.
    """
    height, width = size_of(image)
    if isinstance(size, int):
        scale = size / min(width, height)
        sides = (min(side * scale, LONGEST_ASPECT * size) for side in (height, width))
        tall, wide = (max(1, round(side / patch_size)) * patch_size for side in sides)
    else:
        tall, wide = size
    scale = max(tall / height, wide / width)
    cut_width, cut_height = min(wide / scale, width), min(tall / scale, height)
    left, top = (width - cut_width) / 2, (height - cut_height) / 2
    box = (left, top, min(left + cut_width, width), min(top + cut_height, height))
    if isinstance(image, Tensor):
        x0, y0, x1, y1 = (round(edge) for edge in box)
        return resize(image[y0:y1, x0:x1], HeightWidth(tall, wide))
    return image.resize((wide, tall), BICUBIC, box=box)


def attention_picture(
    image: Image.Image, attention: Tensor, own: Tensor, colours: Tensor, title: str, *, joint: bool
) -> Image.Image:
    """Returns one picture: the image, the mean of the heads over it, the patches' colours, and below each head.

    Args:
        image: RGB, as the backbone was given it.
        attention: [heads, h, w] to the patches.
        own: [heads] to class token and registers; 0 without any.
        colours: [h, w, 3] in 0..1.
        title: a line above all.
        joint: whether the colours are those of all images, for the caption.
    """
    mean, longest = attention.mean(dim=0), max(image.size)
    size = (round(image.width * _LARGE / longest), round(image.height * _LARGE / longest))
    shown = image.resize(size, BICUBIC)
    patches = Image.fromarray((colours.numpy() * 255).round().astype(np.uint8))
    large = [
        Tile(shown, (f"{image.width} wide, {image.height} high, in pixels",)),
        Tile(overlay(shown, mean), (f"mean of {len(attention)} heads{_elsewhere(own)}",)),
        Tile(patches.resize(size, NEAREST), (f"first three principal components{' of all images' if joint else ''}",)),
    ]
    heads = [
        Tile(heat(head).resize(size, NEAREST), (f"{index}: {100 * float(head.max()):.1f} %",))
        for index, head in enumerate(attention)
    ]
    columns = -(-len(heads) // -(-len(heads) // _HEADS_A_ROW))  # rows of one length: 12 heads are 6 and 6
    note = "each head, from black (0) to light (its largest share, below it)"
    above = contact_sheet(large, columns=3, title=title, side=_LARGE)
    side = min((above.width - GAP) // columns - GAP, _LARGE // 2)
    return stacked([above, contact_sheet(heads, columns=columns, title=note, side=side)])


def _elsewhere(own: Tensor) -> str:
    share = 100 * float(own.mean())
    return f", {share:.1f} % to no patch" if share > 0 else ""


def heat(values: Tensor) -> Image.Image:
    """Returns values [h, w] of 0 or more as colours from black to light yellow, the largest being the lightest."""
    shares = values.double() / max(float(values.max()), 1e-12)
    return Image.fromarray(_heat_colours(shares.numpy()).round().astype(np.uint8))


def overlay(image: Image.Image, values: Tensor, largest: float | None = None) -> Image.Image:
    """Returns a grey image with values [h, w] of 0 or more over it in colour, interpolated; 0 leaves it grey.

    The lightest colour is `largest`, or else the largest of the values.
    """
    map_of = Image.fromarray(values.float().numpy()).resize(image.size, Image.Resampling.BILINEAR)
    share = np.asarray(map_of, dtype=np.float64)
    share = (share / max(float(share.max()) if largest is None else largest, 1e-12)).clip(0, 1)
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None] * 0.55
    opacity = 0.85 * np.sqrt(share)[..., None]
    mixed = grey * (1 - opacity) + _heat_colours(share) * opacity
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _heat_colours(values: np.ndarray) -> np.ndarray:
    """Returns [h, w, 3] in 0..255 of values in 0..1."""
    place = values * (len(_HEAT) - 1)
    low = np.minimum(place.astype(np.int64), len(_HEAT) - 2)
    colours: np.ndarray = _HEAT[low] + (place - low)[..., None] * (_HEAT[low + 1] - _HEAT[low])
    return colours
