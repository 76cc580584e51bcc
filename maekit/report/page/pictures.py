"""Pictures inside the page: as they are where they fit, smaller where they do not, the largest left out at last."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maekit.report.document import Picture
from maekit.system.size import HeightWidth

_NO_SIZE = HeightWidth(0, 0)
_SMALLER = (480, 320, 200)  # longest side in px, tried one after the other


@dataclass(frozen=True)
class Shown:
    """A picture of the page: its data URI and its size, or the reason why it is not there."""

    caption: str
    data: str = ""
    size: HeightWidth = _NO_SIZE
    reason: str = ""

    @property
    def room(self) -> int:
        """The width in px that the picture and its caption are given."""
        return max(self.size.width, 140)


def fitting(pictures: Sequence[Picture], room: int) -> list[Shown]:
    """The pictures in at most `room` bytes of data URIs together.

    They are scaled down only if they would not fit; then the largest are left out, each with its reason. A damaged file
    is left out with a reason too.
    """
    shown = [_read(picture, None) for picture in pictures]
    for side in _SMALLER:
        if _weight(shown) <= room:
            break
        for at, picture in enumerate(pictures):
            smaller = _read(picture, side) if shown[at].data else shown[at]
            if smaller.data and len(smaller.data) < len(shown[at].data):
                shown[at] = smaller
    while _weight(shown) > room:
        largest = max(range(len(shown)), key=lambda i: len(shown[i].data))
        shown[largest] = replace(shown[largest], data="", reason="Left out: the page would be too large.")
    return shown


def _weight(shown: Sequence[Shown]) -> int:
    return sum(len(picture.data) for picture in shown)


def _read(picture: Picture, side: int | None) -> Shown:
    """The file as it is (JPEG and PNG), or as a JPEG of at most `side` px."""
    from PIL import Image  # only a report with pictures pays for it

    try:
        raw = Path(picture.path).read_bytes()
        with Image.open(io.BytesIO(raw)) as image:
            image.load()  # a file cut off in the middle shows here
            size = HeightWidth(image.height, image.width)
            kind = {"JPEG": "jpeg", "PNG": "png"}.get(image.format or "")
            if side is not None or kind is None:
                small = image.convert("RGB")
                small.thumbnail((side or 1280, side or 1280))
                held = io.BytesIO()
                small.save(held, "JPEG", quality=78)
                raw, kind, size = held.getvalue(), "jpeg", HeightWidth(small.height, small.width)
    except FileNotFoundError:
        return Shown(picture.caption, reason="The file is missing.")
    except Exception:  # Pillow raises many kinds for broken files, and names its own objects in them
        return Shown(picture.caption, reason="The file cannot be read: it is cut off, or no picture.")
    data = f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"
    return Shown(picture.caption, data, size)
