"""Colours of 10 to 16 bits in files of 16 are scaled by the white of their data set, as grey ones are."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from maekit.data.images.decode import read_image, upright
from maekit.data.images.picture_form import choose_form
from maekit.errors import UserError

SHALLOW = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.uint8)
SHALLOW[0, 0], SHALLOW[0, 1] = 0, 255


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_copies_of_a_picture_are_read_as_the_picture_itself(bits: int, suffix: str, tmp_path: Path) -> None:
    white = 2**bits - 1
    deep = np.rint(SHALLOW.astype(np.float64) * white / 255).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), deep[..., ::-1])
    form = choose_form([(1, lambda index: str(path))], "auto", "auto", "")
    assert np.array_equal(np.asarray(form.reading(path)), SHALLOW)
    assert f"white = {white:,}" in form.notes[-1]
    if bits < 16:
        with pytest.raises(UserError, match="brightest pixel"):
            read_image(path, white / 2)
    assert np.asarray(read_image(path, white / 2, clip=True)).mean() > SHALLOW.mean()


def test_deep_colours_are_turned_once_by_their_orientation(tmp_path: Path) -> None:
    deep = SHALLOW.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., ::-1])
    with Image.open(tmp_path / "a.png") as image:
        exif = image.getexif()
    exif[0x0112] = 6
    block = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    data = (tmp_path / "a.png").read_bytes()

    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    assert np.array_equal(np.asarray(upright(read_image(tmp_path / "a.png"))), np.rot90(SHALLOW, -1))


def test_a_dark_deep_picture_asks_which_value_is_white(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), (SHALLOW // 16).astype(np.uint16))
    with pytest.raises(UserError, match=r"--data\.white N"):
        choose_form([(1, lambda index: str(tmp_path / "a.png"))], "auto", "auto", "")


def test_a_damaged_deep_picture_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), SHALLOW.astype(np.uint16) * 16)
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path / "a.png")
