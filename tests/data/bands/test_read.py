"""Files of any channels are read in full depth, whichever way they are written; damaged and odd ones are refused."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from maekit.data.images.bands.read import look, read
from maekit.errors import UserError

BANDS = np.random.default_rng(0).integers(0, 65536, (20, 24, 13)).astype(np.uint16)
PLANES = np.moveaxis(BANDS, -1, 0)
NAMES = tuple(f"B{number}" for number in range(1, 14))
GDAL = "".join(f'<Item name="DESCRIPTION" sample="{at}" role="description">{x}</Item>' for at, x in enumerate(NAMES))
CHUNKY: dict[str, Any] = {"planarconfig": "contig", "photometric": "minisblack"}


@pytest.mark.parametrize(
    ("pixels", "how"),
    [
        (BANDS, CHUNKY),
        (PLANES, {"planarconfig": "separate", "photometric": "minisblack"}),
        (PLANES, {"photometric": "minisblack"}),
        (BANDS, {**CHUNKY, "tile": (16, 16), "compression": "zlib", "predictor": True}),
        (BANDS, {**CHUNKY, "tile": (16, 16), "compression": "lzw"}),
        (PLANES, {"photometric": "minisblack", "tile": (16, 16), "compression": "zstd"}),
        (PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}),
        (BANDS, {**CHUNKY, "bigtiff": True, "byteorder": ">"}),
    ],
)
def test_a_tiff_of_13_bands(pixels: np.ndarray, how: dict[str, Any], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    found, form = read(tmp_path / "a.tif")
    assert np.array_equal(found, BANDS)
    assert (form.count, form.dtype, form.height, form.width) == (13, "uint16", 20, 24)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_numbers_are_those_of_the_file(kind: type, tmp_path: Path) -> None:
    pixels: np.ndarray = (BANDS.astype(np.float64) / 1000 - 5).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", pixels, **CHUNKY)
    np.save(tmp_path / "b.npy", pixels)
    for name in ("a.tif", "b.npy"):
        found, form = read(tmp_path / name)
        assert found.dtype == form.dtype == np.dtype(np.float32 if kind is np.float64 else kind)
        assert np.array_equal(found, pixels.astype(found.dtype))


def test_names_of_a_tiff_are_gdals_or_its_colours(tmp_path: Path) -> None:
    described = {**CHUNKY, "metadata": None, "extratags": [(42112, 2, 0, f"<GDALMetadata>{GDAL}</GDALMetadata>", True)]}
    tifffile.imwrite(tmp_path / "a.tif", BANDS, **described)
    assert look(tmp_path / "a.tif").names == NAMES
    tifffile.imwrite(tmp_path / "b.tif", BANDS[..., :5], photometric="rgb", extrasamples=[0, 2])
    assert look(tmp_path / "b.tif").names == ("R", "G", "B", "", "A")
    tifffile.imwrite(tmp_path / "c.tif", BANDS[..., 0])
    assert look(tmp_path / "c.tif").names == ("grey",)


def test_overviews_and_masks_of_a_tiff_are_passed_over(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BANDS, **CHUNKY)
        file.write(BANDS[::2, ::2], **CHUNKY, subfiletype=1)
        file.write(BANDS[..., 0] > 9, photometric="minisblack", subfiletype=4)
    assert np.array_equal(read(tmp_path / "a.tif")[0], BANDS)


@pytest.mark.parametrize("axes", ["last", "first"])
def test_the_channels_of_an_array_are_its_shorter_axis_or_the_one_of_their_number(axes: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS if axes == "last" else PLANES)
    assert np.array_equal(read(tmp_path / "a.npy")[0], BANDS)
    np.save(tmp_path / "b.npy", (BANDS if axes == "last" else PLANES)[:13, :, :13])
    chip = BANDS[:13] if axes == "last" else PLANES[:13, :, :13]
    with pytest.raises(UserError, match="unclear"):
        read(tmp_path / "b.npy", 13)
    np.save(tmp_path / "c.npy", chip[:5] if axes == "last" else chip[:, :, :5])
    assert look(tmp_path / "c.npy", 13).count == 13
    assert look(tmp_path / "c.npy").count == 5


@pytest.mark.parametrize(("mode", "names"), [("L", "grey"), ("LA", "grey A"), ("RGB", "R G B"), ("RGBA", "R G B A")])
def test_a_png_of_8_and_of_16_bits_keeps_its_channels(mode: str, names: str, tmp_path: Path) -> None:
    count = len(names.split())
    deep, shallow = BANDS[..., :count], (BANDS[..., :count] >> 8).astype(np.uint8)
    Image.fromarray(shallow.squeeze()).save(tmp_path / "a.png")
    _write_png(tmp_path / "b.png", deep, {1: 0, 2: 4, 3: 2, 4: 6}[count])
    for name, expected in (("a.png", shallow), ("b.png", deep)):
        found, form = read(tmp_path / name)
        assert form.names == tuple(names.split())
        assert form.dtype == expected.dtype
        assert np.array_equal(found, expected)


def _write_png(path: Path, pixels: np.ndarray, colours: int) -> None:
    """Writes [H, W, C] of 16 bits by the PNG specification alone."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colours, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def test_a_file_without_a_pixel_or_of_65_channels_is_refused(tmp_path: Path) -> None:
    for shape, fact in (((0, 8, 3), "0 x 8"), ((8, 8, 0), "0 channels"), ((80, 80, 65), "65 channels")):
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        with pytest.raises(UserError, match=fact) as error:
            read(tmp_path / "a.npy")
        assert "a.npy" in str(error.value)
        assert "\n" not in str(error.value)


def test_pages_that_are_no_channels_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BANDS[..., 0], photometric="minisblack")
        file.write(BANDS[:8, ..., 0], photometric="minisblack")
    with pytest.raises(UserError, match="page 2"):
        read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.stack([BANDS[..., :3]] * 2), photometric="rgb")
    with pytest.raises(UserError, match="2 pages of 3 channels"):
        read(tmp_path / "b.tif")


DAMAGES: list[Callable[[bytes], bytes]] = [lambda all: all[: len(all) // 2], lambda all: all[:40], lambda all: b""]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a.tif", "b.tif", "a.npy", "a.png"])
def test_a_damaged_file_is_one_line(name: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = tmp_path / f"whole_{name}"
    match name:
        case "a.npy":
            np.save(whole, BANDS)
        case "a.png":
            cv2.imwrite(str(whole), BANDS[..., :3])
        case _:
            tifffile.imwrite(whole, BANDS, **CHUNKY, compression="zlib" if name == "b.tif" else None)
    (tmp_path / name).write_bytes(damage(whole.read_bytes()))
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_without_tifffile_the_line_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", BANDS, **CHUNKY)
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(UserError, match=r"pip install 'maekit\[tiff\]'"):
        read(tmp_path / "a.tif")
