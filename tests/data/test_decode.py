"""Reading images: every pixel format becomes 8-bit RGB, every unreadable file one line that names it."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from torchvision.datasets.folder import pil_loader

from maekit.data.folders.file_names import is_image_name
from maekit.data.images.decode import Reading, read_image
from maekit.data.images.fast_decode import read_pixels
from maekit.errors import UserError

RNG = np.random.default_rng(0)
COLOURS = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8))


def transparent_palette() -> Image.Image:
    image = COLOURS.quantize(16)
    image.info["transparency"] = bytes(range(0, 256, 16))
    return image


FORMATS = {
    "rgb.jpg": COLOURS,
    "cmyk.jpg": COLOURS.convert("CMYK"),
    "cmyk.tif": COLOURS.convert("CMYK"),
    "grey.jpg": COLOURS.convert("L"),
    "grey.png": COLOURS.convert("L"),
    "grey_alpha.png": COLOURS.convert("LA"),
    "alpha.png": Image.merge("RGBA", (*COLOURS.split(), COLOURS.split()[0])),
    "alpha.webp": Image.merge("RGBA", (*COLOURS.split(), COLOURS.split()[0])),
    "palette.png": COLOURS.quantize(16),
    "palette.gif": COLOURS.quantize(16),
    "palette_alpha.png": transparent_palette(),
    "one_bit.png": COLOURS.convert("1"),
    "one_pixel.png": COLOURS.crop((0, 0, 1, 1)),
    "rgb.bmp": COLOURS,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_pixels_are_those_of_torchvision(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FORMATS[name].save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(pil_loader(path)))


def test_a_palette_with_transparency_gives_no_warning(tmp_path: Path) -> None:
    transparent_palette().save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (30, 20)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_is_scaled(name: str, tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / name)
    expected = np.rint(values / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / name)), np.stack([expected] * 3, axis=2))


def test_wide_integers_of_sixteen_bit_range_are_scaled_alike(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535]], dtype=np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.asarray(read_image(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 1, 255]


def test_orientation_is_ignored_as_torchvision_does(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    COLOURS.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "turned.png")), np.asarray(COLOURS))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "jp2"])
def test_upright_is_as_viewers_show_it(suffix: str, tmp_path: Path) -> None:
    """Pillow turns a TIFF itself, so there it must not be turned twice; JPEG 2000 has no tag that is written."""
    exif = Image.Exif()
    exif[0x0112] = 6
    COLOURS.save(tmp_path / f"a.{suffix}", exif=exif)
    wanted = (20, 30) if suffix != "jp2" else (30, 20)
    assert Reading()(tmp_path / f"a.{suffix}").size == wanted


def test_deep_grey_keeps_its_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    deep.save(tmp_path / "a.png", exif=exif)
    deep.save(tmp_path / "a.tif", exif=exif)
    deep.save(tmp_path / "b.tif", exif=exif, compression="tiff_lzw")
    expected = np.asarray(Reading(False)(tmp_path / "a.png"))[::-1].swapaxes(0, 1)
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(np.asarray(Reading()(tmp_path / name)), expected)


def levels(path: Path, white: float | None, *, clip: bool = False) -> list[int]:
    return list(np.asarray(read_image(path, white, clip=clip))[0, :, 0].tolist())


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, ">u2"])
def test_a_stated_white_is_255(dtype: Any, tmp_path: Path) -> None:
    pixels = np.array([[0, 1024, 2048, 4095]], dtype=dtype)
    image = Image.frombytes("I;16B", (4, 1), pixels.tobytes()) if dtype == ">u2" else Image.fromarray(pixels)
    image.save(tmp_path / "a.tif")
    assert levels(tmp_path / "a.tif", 4095) == [0, 64, 128, 255]
    assert levels(tmp_path / "a.tif", 2048, clip=True) == [0, 128, 255, 255]
    with pytest.raises(UserError, match=r"brightest pixel is 4,?095.* above 2,?048"):
        read_image(tmp_path / "a.tif", 2048)


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.full((2, 2), np.nan, np.float32), "lowest pixel is NaN"),
        (np.full((2, 2), -1024, np.int32), "lowest pixel is -1,024"),
        (np.full((2, 2), -1, np.float32), "lowest pixel is -1"),
        (np.full((2, 2), 1, np.float32), "float pixels up to 1; .*--data.white"),
        (np.full((2, 2), 1 << 20, np.int32), "brightest pixel is 1,048,576, above 65,535.*--data.white"),
    ],
)
def test_pixels_without_a_known_white_are_refused(pixels: np.ndarray, found: str, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=found) as caught:
        read_image(tmp_path / "a.tif")
    assert str(caught.value).startswith(f"{tmp_path / 'a.tif'}: ")


def test_a_heic_picture_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"a\.jpg: is a HEIC picture; pip install 'maekit\[heic\]'"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif", "jp2", "mpo", "tga"])
def test_less_usual_suffixes_are_read(suffix: str, tmp_path: Path) -> None:
    COLOURS.save(tmp_path / f"a.{suffix}")
    assert is_image_name(f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").size == (30, 20)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    COLOURS.resize((200, 200)).save(buffer, kind)
    return buffer.getvalue()


def flipped_png() -> bytes:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


BAD = {
    "empty file": (b"", "is an empty file"),
    "text": (b"<html>404 not found</html>", "is not an image"),
    "noise": (bytes(RNG.integers(0, 256, 5000, dtype=np.uint8)), "is not an image"),
    "half a JPEG": (encoded("JPEG")[:3000], "truncated"),
    "a JPEG less its last bytes": (encoded("JPEG")[:-40], "truncated"),
    "half a PNG": (encoded("PNG")[:3000], "truncated"),
    "a PNG of flipped bits": (flipped_png(), "cannot be read"),
    "half a WebP": (encoded("WEBP")[:3000], "cannot be read"),
    "half a BMP": (encoded("BMP")[:3000], "truncated"),
    "only a header": (encoded("JPEG")[:20], "cannot be read|not an image"),
}


@pytest.mark.parametrize("read", [read_image, read_pixels])
@pytest.mark.parametrize("kind", BAD)
def test_an_unreadable_file_is_one_line_with_its_name(kind: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    data, expected = BAD[kind]
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(UserError, match=expected) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    assert "maekit data check" in line


@pytest.mark.parametrize("read", [read_image, read_pixels])
def test_truncated_files_do_not_pass_where_a_library_allowed_them(
    read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    (tmp_path / "half.jpg").write_bytes(encoded("JPEG")[:3000])
    with pytest.raises(UserError, match="truncated"):
        read(tmp_path / "half.jpg")


@pytest.mark.parametrize("read", [read_image, read_pixels])
def test_a_missing_file_is_one_line(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be opened \(No such file") as caught:
        read(tmp_path / "gone.jpg")
    assert "\n" not in str(caught.value)


def test_a_large_image_is_read_and_a_huge_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    COLOURS.save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert read_image(tmp_path / "large.png").size == (30, 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(UserError, match=r"30 x 20 pixels, the limit is 400; .*MAEKIT_MAX_MEGAPIXELS=1") as caught:
        read_image(tmp_path / "large.png")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("MAEKIT_MAX_MEGAPIXELS", "1")
    assert read_image(tmp_path / "large.png").size == (30, 20)
    monkeypatch.setenv("MAEKIT_MAX_MEGAPIXELS", "much")
    with pytest.raises(UserError, match="MAEKIT_MAX_MEGAPIXELS: got 'much'"):
        read_image(tmp_path / "large.png")
