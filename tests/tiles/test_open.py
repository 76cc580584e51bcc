"""Regions of files are what reading the whole file gives, however the file lies on the disk."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from torch import Tensor

from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import PIXEL_LIMIT, Reading
from maekit.data.images.reading_of import AnyReading
from maekit.errors import UserError
from maekit.system.size import HeightWidth
from maekit.tiles.open import open_tiled, stored_size
from maekit.tiles.region import Region, whole
from maekit.tiles.tiff_regions import TiffRegions
from tests.tiles.helpers import smooth

TILED: dict[str, Any] = {"tile": (32, 48)}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiled, deflate": TILED | {"compression": "zlib"},
    "tiled, deflate, differences": TILED | {"compression": "zlib", "predictor": True},
    "tiled, LZW": TILED | {"compression": "lzw"},
    "tiled, zstd": TILED | {"compression": "zstd"},
    "tiled, JPEG": TILED | {"compression": "jpeg"},
    "tiled, raw, big": TILED | {"bigtiff": True},
    "tiled, planar": TILED | {"planarconfig": "separate", "compression": "zlib"},
    "strips, deflate": {"rowsperstrip": 7, "compression": "zlib"},
    "strips, raw": {"rowsperstrip": 7},
    "strips, planar": {"rowsperstrip": 7, "planarconfig": "separate"},
    "one strip, deflate": {"rowsperstrip": 1000, "compression": "zlib"},
    "big endian": {"byteorder": ">", "rowsperstrip": 9},
}
PLACES = [Region(0, 0, 1, 1), Region(31, 47, 33, 49), Region(70, 3, 101, 149), Region(0, 0, 101, 150)]


def as_array(image: Image.Image | Tensor) -> np.ndarray:
    return image.numpy() if isinstance(image, Tensor) else np.asarray(image)


def check(path: Path, reading: AnyReading) -> None:
    expected = as_array(reading(path))
    with open_tiled(path, reading) as image:
        assert image.size == expected.shape[:2]
        for place in PLACES:
            part = place.inside(whole(image.size))
            found = image.read(part)
            assert isinstance(found, Tensor) == isinstance(reading, BandReading)
            np.testing.assert_array_equal(as_array(found), expected[part.rows, part.columns])


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    given: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack", "planarconfig": "contig"}
    given |= options
    order: dict[str, Any] = {name: given.pop(name) for name in ("bigtiff", "byteorder") if name in given}
    if given.get("planarconfig") == "separate":
        pixels = np.moveaxis(pixels, -1, 0)
    with tifffile.TiffWriter(path, **order) as file:
        file.write(pixels, metadata=None, **given)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rgb_is_read_as_pillow_reads_it(layout: str, tmp_path: Path) -> None:
    check(write(tmp_path / "image.tif", smooth(101, 150), **LAYOUTS[layout]), Reading())


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "JPEG" not in name])
def test_bands_are_read_as_the_data_s_own_code_does(layout: str, tmp_path: Path) -> None:
    pixels = smooth(101, 150, 5).astype(np.uint16) * 13
    path = write(tmp_path / "image.tif", pixels, **LAYOUTS[layout])
    names = ("a", "b", "c", "d", "e")
    bands = Bands(("d", "b"), names, "uint16", (900.0, 800.0), (300.0, 200.0), 4095.0)
    check(path, BandReading(bands))


KINDS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "grey": (smooth(101, 150, 1)[..., 0], {}),
    "white is zero": (smooth(101, 150, 1)[..., 0], {"photometric": "miniswhite"}),
    "one bit": (smooth(101, 150, 1)[..., 0] > 120, {"photometric": "minisblack"}),
    "alpha": (smooth(101, 150, 4), {"extrasamples": ["unassalpha"]}),
    "premultiplied": (smooth(101, 150, 4), {"extrasamples": ["assocalpha"]}),
    "grey of 16 bits": (smooth(101, 150, 1)[..., 0].astype(np.uint16) * 15, {}),
    "colours of 16 bits": (smooth(101, 150).astype(np.uint16) * 15, {}),
    "float": (smooth(101, 150, 1)[..., 0].astype(np.float32) * 15, {}),
    "palette": (
        smooth(101, 150, 1)[..., 0],
        {"photometric": "palette", "colormap": (np.arange(768).reshape(3, 256) * 77 % 65536).astype(np.uint16)},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_colours_become_the_same_rgb(kind: str, tmp_path: Path) -> None:
    pixels, options = KINDS[kind]
    path = write(tmp_path / "image.tif", pixels, rowsperstrip=8, **options)
    check(path, Reading(white=4095.0 if pixels.dtype.itemsize > 1 else None))


@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_are_turned_alike(turn: int, tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(101, 150), tile=(32, 48), extratags=[(274, 3, 1, turn, True)])
    check(path, Reading())
    check(path, Reading(upright=False))  # Pillow turns a TIFF file when it loads it
    bands = Bands(("B", "R"), ("R", "G", "B"), "uint8", (90.0, 80.0), (30.0, 20.0), 255.0)
    check(path, BandReading(bands))


def test_a_pyramid_is_read_at_its_full_size(tmp_path: Path) -> None:
    path, pixels = tmp_path / "image.tif", smooth(101, 150)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="rgb", **TILED, metadata=None)
        file.write(pixels[::2, ::2], photometric="rgb", **TILED, subfiletype=1, metadata=None)
    check(path, Reading())
    check(path, BandReading(Bands(("R",), ("R", "G", "B"), "uint8", (90.0,), (30.0,), 255.0)))


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.j2k", "image.bmp"])
def test_other_formats_are_decoded_whole_which_is_counted(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.fromarray(smooth(101, 150)).save(path)
    check(path, Reading())
    with open_tiled(path, Reading()) as image:
        assert image.decoded == 101 * 150 * 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("tiled", [{}, {"tile_size": (64, 48)}])
def test_a_jpeg2000_file_is_read_in_parts(
    mode: str, tiled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.jp2"
    Image.fromarray(smooth(101, 150)).convert(mode).save(path, **tiled)
    check(path, Reading())
    with open_tiled(path, Reading()) as image:
        assert image.decoded == 101 * 150 * 3
    expected = np.asarray(Reading()(path))
    monkeypatch.setenv(PIXEL_LIMIT, "0.01")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with open_tiled(path, Reading()) as image:
        assert (image.decoded, image.size) == (0, (101, 150))
        for place in (part.inside(whole(image.size)) for part in PLACES):
            np.testing.assert_array_equal(as_array(image.read(place)), expected[place.rows, place.columns])


def test_a_jpeg2000_file_of_more_bits_is_not_read_in_parts_and_half_of_one_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep, path = tmp_path / "deep.jp2", tmp_path / "image.jp2"
    Image.fromarray(smooth(404, 600, 1)[..., 0].astype(np.uint16) * 257).save(deep)
    Image.fromarray(smooth(404, 600)).save(path, tile_size=(128, 128))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    monkeypatch.setenv(PIXEL_LIMIT, "0.2")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with pytest.raises(UserError, match="the limit is"), open_tiled(deep, Reading(white=65535.0)):
        pass
    with pytest.raises(UserError, match=r"image\.jp2"), open_tiled(path, Reading()) as image:
        image.read(whole(image.size))


@pytest.mark.parametrize("name", ["image.png", "image.j2k", "image.tif"])
def test_what_is_decoded_whole_has_a_limit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    if name.endswith("tif"):
        write(path, smooth(404, 600), rowsperstrip=404, compression="zlib")
    else:
        Image.fromarray(smooth(404, 600)).save(path)
    monkeypatch.setenv(PIXEL_LIMIT, "0.2")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with pytest.raises(UserError, match="tiled TIFF"), open_tiled(path, Reading()):
        pass
    assert stored_size(path, Reading()) == (404, 600)


def test_a_jpeg2000_file_above_the_limit_names_its_extra_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.jp2"
    Image.fromarray(smooth(404, 600)).save(path)
    monkeypatch.setenv(PIXEL_LIMIT, "0.2")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with open_tiled(path, Reading()) as image:
        assert image.read(Region(0, 0, 3, 5)).size == (5, 3)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"maekit\[jp2\].*tiled TIFF"), open_tiled(path, Reading()):
        pass


def test_a_tiled_file_above_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "image.tif", smooth(404, 600), tile=(128, 128), compression="zlib")
    monkeypatch.setenv(PIXEL_LIMIT, "0.2")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    place = Region(200, 300, 340, 500)
    with open_tiled(path, Reading()) as image:
        np.testing.assert_array_equal(as_array(image.read(place)), smooth(404, 600)[place.rows, place.columns])


def test_the_white_of_a_deep_image_is_found_in_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(300, 300, 1)[..., 0].astype(np.uint16) * 15, **TILED)
    with open_tiled(path, Reading()) as image:
        assert len(image.notices) == 1
        found = as_array(image.read(whole(image.size)))
    np.testing.assert_array_equal(found, np.asarray(Reading(white=4095.0)(path)))


@pytest.mark.parametrize("layout", ["tiled, deflate", "strips, deflate", "tiled, zstd"])
def test_a_damaged_tile_is_named(layout: str, tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(101, 150), **LAYOUTS[layout])
    with tifffile.TiffFile(path) as file:
        page = file.pages.first.aspage()
        offset, kind = page.dataoffsets[5], "tile 5" if page.is_tiled else "strip 5"
    with path.open("r+b") as data:
        data.seek(offset)
        data.write(b"\xff" * 12)
    with open_tiled(path, Reading()) as image:
        image.read(Region(0, 0, 7, 40))
        with pytest.raises(UserError, match=kind) as error:
            image.read(whole(image.size))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("layout", ["tiled, raw, big", "strips, raw", "tiled, LZW"])
def test_a_file_that_ends_too_early_names_the_tile(layout: str, tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(101, 150), **LAYOUTS[layout])
    with tifffile.TiffFile(path) as file:
        end = file.pages.first.dataoffsets[-1] + 10
    path.write_bytes(path.read_bytes()[:end])
    with open_tiled(path, Reading()) as image, pytest.raises(UserError, match=r"(tile|strip) \d"):
        image.read(whole(image.size))


def test_a_file_of_other_bands_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(101, 150, 5), **TILED)
    bands = Bands(("a",), ("a", "b"), "uint8", (90.0,), (30.0,), 255.0)
    with pytest.raises(UserError, match="5 channels"), open_tiled(path, BandReading(bands)):
        pass
    with pytest.raises(UserError, match="5 samples"), open_tiled(path, Reading()):
        pass


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\x08\0\0\0", b"no image"])
def test_what_is_no_image_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"image\.tif"), open_tiled(path, Reading()):
        pass
    with pytest.raises(UserError, match=r"image\.tif"):
        stored_size(path, Reading())
    with pytest.raises(UserError, match=r"none\.tif"), open_tiled(tmp_path / "none.tif", Reading()):
        pass


def test_tiles_in_the_cache_are_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(101, 150), **LAYOUTS["tiled, deflate"])
    with tifffile.TiffFile(path) as file:
        regions = TiffRegions(path, [file.pages.first.aspage()])
        first = regions.read(whole(HeightWidth(101, 150)))
    np.testing.assert_array_equal(regions.read(whole(HeightWidth(101, 150))), first)  # the file is closed


def test_a_sparse_tile_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", smooth(32, 96), **LAYOUTS["tiled, deflate"])
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages.first.aspage().tags[325]
        counts.overwrite((0, counts.value[1]))
    with open_tiled(path, Reading()) as image:
        found = as_array(image.read(whole(image.size)))
    assert not found[:, :48].any()
    np.testing.assert_array_equal(found[:, 48:], smooth(32, 96)[:, 48:])
