"""Reading a training image as a tensor: plain JPEG files by torchvision, everything else by Pillow, the same pixels."""

import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maekit.data.images.decode import UPRIGHT, Reading, orientation
from maekit.data.images.reduced_size import FRAMES
from maekit.system.late_compiler import import_torchvision

APP1, START_OF_SCAN = 0xE1, 0xDA


def load_decoder(paths: Iterable[str]) -> None:
    """Imports torchvision, which takes a second, if a path is named as a JPEG.

    Called before workers are forked, so that they need not import it.
    """
    if any(path.lower().endswith((".jpg", ".jpeg")) for path in paths):
        import_torchvision()


def read_pixels(path: str | Path, reading: Reading = UPRIGHT) -> Tensor:
    """Reads an image file as [H, W, 3] uint8 RGB, pixel for pixel what `reading` gives.

    torchvision decodes grey and colour JPEGs of 8 bits. CMYK, other formats, damaged files and images above Pillow's
    limit of pixels are left to `reading`, which also raises all errors.

    Raises:
        UserError: as `read_image`.
    """
    pixels = _decode_jpeg(path, reading.upright)
    return torch.from_numpy(np.array(reading(path))) if pixels is None else pixels


def _decode_jpeg(path: str | Path, upright: bool) -> Tensor | None:
    try:
        data = np.fromfile(path, np.uint8)
        if not _is_plain(data.data):
            return None
        import_torchvision()
        from torchvision.io import ImageReadMode, decode_jpeg

        pixels: Tensor = decode_jpeg(torch.from_numpy(data), mode=ImageReadMode.RGB)
    except (OSError, RuntimeError, AttributeError):  # the last where torchvision was built without its decoders
        return None
    pixels = pixels.permute(1, 2, 0)
    return (_turned(pixels, data) if upright and may_be_turned(data.data) else pixels).contiguous()


def _turned(pixels: Tensor, data: np.ndarray) -> Tensor:
    """Turns [H, W, 3] by the EXIF orientation in its JPEG file, which Pillow reads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data.tobytes())) as image:
                turn = orientation(image)
    except Exception:  # broken in a part that torchvision does not read
        return pixels
    return turned(pixels, turn)


def turned(pixels: Tensor, turn: int) -> Tensor:
    """Returns pixels [H, W, C] turned by an EXIF orientation, 1 to 8."""
    if turn >= 5:
        pixels = pixels.transpose(0, 1)
    axes = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(turn, ())
    return pixels.flip(axes) if axes else pixels


def may_be_turned(data: memoryview) -> bool:
    """Whether a JPEG's header has a segment that may hold an orientation: EXIF or XMP data."""
    place = 2
    while place + 4 < len(data) and data[place] == 0xFF and data[place + 1] != START_OF_SCAN:
        if data[place + 1] == APP1:
            return True
        place += 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
    return False


def _is_plain(data: memoryview) -> bool:
    """Whether both decoders give the same pixels: a JPEG of 8 bits, one or three channels and no excessive size."""
    found = frame(data)
    if found is None:
        return False
    bits, height, width, channels = found
    limit = Image.MAX_IMAGE_PIXELS
    return bits == 8 and channels in (1, 3) and (limit is None or height * width <= 2 * limit)


def frame(data: memoryview) -> tuple[int, int, int, int] | None:
    """Returns bits, height, width and channels from a JPEG's header; None if the file is not a JPEG."""
    if bytes(data[:3]) != b"\xff\xd8\xff":
        return None
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker in FRAMES:
            height, width = int.from_bytes(data[place + 5 : place + 7]), int.from_bytes(data[place + 7 : place + 9])
            return data[place + 4], height, width, data[place + 9]
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
    return None
