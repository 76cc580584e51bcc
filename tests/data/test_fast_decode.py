"""Decoding of training images by torchvision: the same pixels as Pillow's, or Pillow's error."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.data.images import decode
from maekit.data.images.decode import Reading, read_image, upright
from maekit.data.images.fast_decode import frame, read_pixels
from maekit.errors import UserError
from tests.data.helpers import COLOURS


@pytest.fixture
def by_pillow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that `read_pixels` left to Pillow."""
    names: list[str] = []

    def spy(path: str | Path, white: float | None = None, *, clip: bool = False, factor: int = 1) -> Image.Image:
        names.append(Path(path).name)
        return read_image(path, white, clip=clip, factor=factor)

    monkeypatch.setattr(decode, "read_image", spy)
    return names


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


ADOBE_RGB = {"keep_rgb": True, "quality": 95}
PLAIN: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "colour.jpg": (COLOURS, {}),
    "fine.jpg": (COLOURS, {"subsampling": 0, "quality": 97}),
    "progressive.jpg": (COLOURS, {"progressive": True}),
    "grey.jpg": (COLOURS.convert("L"), {}),
    "turned.jpg": (COLOURS, {"exif": turned()}),
    "rgb.jpg": (COLOURS, ADOBE_RGB),
    "odd.jpg": (COLOURS.resize((17, 31)), {}),
    "pixel.jpg": (COLOURS.resize((1, 1)), {}),
}
OTHER: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "cmyk.jpg": (COLOURS.convert("CMYK"), {}),
    "colour.png": (COLOURS, {}),
    "palette.png": (COLOURS.quantize(16), {}),
    "deep.png": (Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), {}),
    "colour.webp": (COLOURS, {"lossless": True}),
    "colour.bmp": (COLOURS, {}),
}


@pytest.mark.parametrize("turn", [True, False])
@pytest.mark.parametrize("name", [*PLAIN, *OTHER])
def test_pixels_are_those_of_pillow(name: str, turn: bool, tmp_path: Path, by_pillow: list[str]) -> None:
    image, options = {**PLAIN, **OTHER}[name]
    image.save(tmp_path / name, **options)
    pixels = read_pixels(tmp_path / name, Reading(turn))
    assert by_pillow == ([] if name in PLAIN else [name])
    assert (pixels.dtype, pixels.is_contiguous()) == (torch.uint8, True)
    stored = read_image(tmp_path / name)
    np.testing.assert_array_equal(pixels.numpy(), np.asarray(upright(stored) if turn else stored))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_both_decoders_turn_a_picture_alike(orientation: int, mode: str, tmp_path: Path, by_pillow: list[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    COLOURS.convert(mode).save(tmp_path / "a.jpg", exif=exif)
    pixels = read_pixels(tmp_path / "a.jpg", Reading(True))
    assert by_pillow == []
    np.testing.assert_array_equal(pixels.numpy(), np.asarray(Reading(True)(tmp_path / "a.jpg")))


def test_both_decoders_ignore_broken_exif_data(tmp_path: Path) -> None:
    exif = turned().tobytes()
    for number, data in enumerate((exif[:-4], exif[:9], b"Exif\0\0", b"Exif\0\0" + bytes(40), exif[:6] + b"\xff" * 30)):
        COLOURS.save(tmp_path / f"{number}.jpg", exif=data)
        pixels = read_pixels(tmp_path / f"{number}.jpg", Reading(True))
        np.testing.assert_array_equal(pixels.numpy(), np.asarray(Reading(True)(tmp_path / f"{number}.jpg")))


def test_an_orientation_in_xmp_data_turns_in_both_decoders(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    COLOURS.save(tmp_path / "a.jpg", xmp=xmp)
    pixels = read_pixels(tmp_path / "a.jpg", Reading(True))
    assert pixels.shape == (60, 40, 3)
    np.testing.assert_array_equal(pixels.numpy(), np.asarray(Reading(True)(tmp_path / "a.jpg")))


def test_the_format_does_not_depend_on_the_name(tmp_path: Path, by_pillow: list[str]) -> None:
    COLOURS.save(tmp_path / "jpeg.png", "JPEG")
    COLOURS.save(tmp_path / "png.jpg", "PNG")
    for name in ("jpeg.png", "png.jpg"):
        np.testing.assert_array_equal(read_pixels(tmp_path / name), np.asarray(read_image(tmp_path / name)))
    assert by_pillow == ["png.jpg"]


def test_damaged_files_end_as_with_pillow(tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed: the same pixels, or the same line."""
    COLOURS.save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    rng = random.Random(0)
    versions = [whole[:length] for length in range(0, len(whole), 41)] + [
        whole[:-1],
        whole + b"more",
        whole[:-2] + b"x",
    ]
    for _ in range(60):
        changed = bytearray(whole)
        changed[rng.randrange(len(whole))] = rng.randrange(256)
        versions.append(bytes(changed))
    outcomes = [(outcome(read_pixels, tmp_path, v), outcome(read_image, tmp_path, v)) for v in versions]
    assert all(fast == slow for fast, slow in outcomes)
    assert {type(fast) for fast, _ in outcomes} == {str, bytes}


def outcome(read: Any, folder: Path, data: bytes) -> str | bytes:
    (folder / "a.jpg").write_bytes(data)
    try:
        return np.asarray(read(folder / "a.jpg")).tobytes()
    except UserError as error:
        return str(error)


def test_an_excessive_jpeg_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    COLOURS.save(tmp_path / "huge.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(
        UserError, match=r"huge\.jpg: 60 x 40 pixels, the limit is 2,000; .*MAEKIT_MAX_MEGAPIXELS=1"
    ) as caught:
        read_pixels(tmp_path / "huge.jpg")
    assert "\n" not in str(caught.value)


def test_a_jpegs_header_gives_its_size(tmp_path: Path) -> None:
    (COLOURS.convert("CMYK")).save(tmp_path / "a.jpg", exif=turned())
    assert frame(memoryview((tmp_path / "a.jpg").read_bytes())) == (8, 40, 60, 4)
    for data in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00", b"\x89PNG" + bytes(20), b"\xff\xd8" + b"\xff" * 30):
        assert frame(memoryview(data)) is None
