"""Which bands of the files a model is given follows from flags, files and statistics; contradictions are refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from maekit.data.images.bands.choose import Chosen, choose_bands
from maekit.data.images.bands.flags import BandFlags
from maekit.data.images.bands.make_stats import make_stats
from maekit.data.images.bands.stats_file import write_stats
from maekit.errors import UserError
from maekit.system.size import HeightWidth

DRAW = np.random.default_rng(0)
IMAGE = DRAW.integers(0, 4000, (10, 12, 5)).astype(np.uint16)
FIVE = "B1,B2,B3,B4,B5"


def chosen(folder: Path, files: list[str], **flags: object) -> Chosen:
    asked = BandFlags(**flags).asked_bands()  # type: ignore[arg-type]
    return choose_bands([(len(files), lambda index: str(folder / files[index]))], asked, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two arrays of five channels, with statistics beside them."""
    np.save(tmp_path / "a.npy", IMAGE)
    np.save(tmp_path / "b.npy", IMAGE[::-1])
    paths = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    write_stats(tmp_path / "stats.json", make_stats(paths, BandFlags(bands=5).asked_bands())[0])
    return tmp_path


FILES = ["a.npy", "b.npy"]


def test_all_bands_by_their_number(folder: Path) -> None:
    found = chosen(folder, FILES, bands=5)
    assert found.reading is not None
    assert found.reading.bands.names == tuple(FIVE.split(","))
    assert found.reading.bands.unit == 4095
    pixels = found.reading(folder / "a.npy")
    assert pixels.dtype == torch.float32
    assert np.array_equal(pixels.numpy(), IMAGE)
    assert "stats.json" in found.notes[0]


def test_some_bands_by_name_in_the_order_of_the_file(folder: Path) -> None:
    one, other = (chosen(folder, FILES, bands=names).reading for names in ("B4,B2", "B2,B4"))
    assert one is not None
    assert one == other
    assert np.array_equal(one(folder / "a.npy").numpy(), IMAGE[..., [1, 3]])
    assert one.bands.mean == pytest.approx(IMAGE[..., [1, 3]].mean((0, 1)))


def test_named_red_green_and_blue_come_first(folder: Path) -> None:
    content = json.loads((folder / "stats.json").read_text())
    names = ["B", "G", "R", "NIR", "SWIR"]
    (folder / "stats.json").write_text(json.dumps({**content, "bands": names}))
    found = chosen(folder, FILES, bands="NIR,R,G,B", file_bands=",".join(names)).reading
    assert found is not None
    assert found.bands.names == ("R", "G", "B", "NIR")
    assert np.array_equal(found(folder / "a.npy").numpy(), IMAGE[..., [2, 1, 0, 3]])


@pytest.mark.parametrize(
    ("flags", "fact"),
    [
        ({"bands": "B1,B6"}, "did you mean 'B5'"),
        ({"bands": 4}, "expected 5"),
        ({"bands": 5, "file_bands": "a,b,c,d"}, "got 4 names, expected 5"),
        ({"bands": 5, "file_bands": "a,b,c,d,e"}, "no statistics of band a"),
        ({"bands": 5, "stats": "nothere.json"}, "nothere.json"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags: dict[str, object], fact: str, folder: Path) -> None:
    with pytest.raises(UserError, match=fact) as error:
        chosen(folder, FILES, **flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "fact"), [(65, "1 to 64"), (0, "1 to 64"), ("a,a", "twice"), ("a,,b", "names"), ("", "names")]
)
def test_a_flag_that_no_files_fit_is_refused(value: object, fact: str) -> None:
    with pytest.raises(UserError, match=fact):
        BandFlags(bands=value).asked_bands()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="1 to 64"):
        BandFlags(file_bands=[f"B{number}" for number in range(65)]).asked_bands()


def test_without_statistics_the_line_has_the_command(folder: Path) -> None:
    (folder / "stats.json").unlink()
    with pytest.raises(UserError, match=f"maekit data stats --root {folder}"):
        chosen(folder, FILES, bands=5)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda s: {key: value[:4] if isinstance(value, list) else value for key, value in s.items()}, "4 bands"),
        (lambda s: s | {"dtype": "uint8"}, "expected uint16"),
        (lambda s: s | {"bands": ["a", "b", "c", "d", "e"]}, "B1"),
        (lambda s: s | {"std": [0, 1, 1, 1, 1]}, "B1 has the same value"),
    ],
)
def test_statistics_of_other_data_are_refused(
    change: Callable[[dict[str, object]], dict[str, object]], fact: str, folder: Path
) -> None:
    tifffile.imwrite(
        folder / "a.tif",
        IMAGE,
        photometric="minisblack",
        planarconfig="contig",
        metadata=None,
        extratags=[(42112, 2, 0, described(FIVE), True)],
    )
    content = change(json.loads((folder / "stats.json").read_text()))
    (folder / "stats.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=fact):
        chosen(folder, ["a.tif"], bands=FIVE)


def described(names: str) -> str:
    items = (f'<Item sample="{at}" role="description">{name}</Item>' for at, name in enumerate(names.split(",")))
    return f"<GDALMetadata>{''.join(items)}</GDALMetadata>"


@pytest.mark.parametrize(
    ("pixels", "fact"),
    [
        (IMAGE[..., :4], "4 channels, expected 5"),
        (IMAGE.astype(np.float32), "float32, expected uint16"),
        (IMAGE[:0], "0 x 12"),
    ],
)
def test_files_that_differ_from_the_first_are_refused_with_their_name(
    pixels: np.ndarray, fact: str, folder: Path
) -> None:
    np.save(folder / "c.npy", pixels)
    with pytest.raises(UserError, match=fact) as error:
        chosen(folder, [*FILES, "c.npy"], bands=5)
    assert str(error.value).startswith(str(folder / "c.npy"))
    reading = chosen(folder, FILES, bands=5).reading
    assert reading is not None
    with pytest.raises(UserError, match=fact):
        reading(folder / "c.npy")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float_image_with_a_number_that_is_not_finite_is_refused(value: float, tmp_path: Path) -> None:
    image = DRAW.random((6, 6, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", image)
    write_stats(tmp_path / "stats.json", make_stats([str(tmp_path / "a.npy")], BandFlags(bands=2).asked_bands())[0])
    if np.isnan(value):
        (tmp_path / "other").mkdir()
        bad = np.where(np.arange(72).reshape(6, 6, 2) == 5, np.float32(value), image)
        np.save(tmp_path / "other" / "a.npy", bad)
        stats, _ = make_stats([str(tmp_path / "other" / "a.npy")], BandFlags(bands=2).asked_bands())
        write_stats(tmp_path / "other.json", stats)
        with pytest.raises(UserError, match="1 pixel without a value"):
            chosen(tmp_path, ["a.npy"], bands=2, stats=str(tmp_path / "other.json"))
    image[3, 4, 1] = value
    np.save(tmp_path / "b.npy", image)
    with pytest.raises(UserError, match="row 3, column 4") as error:
        chosen(tmp_path, ["a.npy", "b.npy"], bands=2)
    assert "b.npy" in str(error.value)
    only = chosen(tmp_path, ["a.npy", "b.npy"], bands="B1").reading
    assert only is not None
    assert only(tmp_path / "b.npy").shape == (6, 6, 1)


def test_pixels_that_a_file_marks_as_without_a_value_are_the_mean_of_their_band(tmp_path: Path) -> None:
    image = DRAW.integers(0, 99, (6, 6, 2)).astype(np.int16)
    image[2, 3, 1] = -9999
    tifffile.imwrite(
        tmp_path / "a.tif",
        image,
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(42113, 2, 0, "-9999", True)],
    )
    write_stats(tmp_path / "stats.json", make_stats([str(tmp_path / "a.tif")], BandFlags(bands=2).asked_bands())[0])
    found = chosen(tmp_path, ["a.tif"], bands=2)
    assert found.reading is not None
    pixels = found.reading(tmp_path / "a.tif").numpy()
    mean = np.delete(image[..., 1].ravel(), 15).mean()
    assert pixels[2, 3, 1] == np.rint(mean)
    image[2, 3, 1] = np.rint(mean)
    assert np.array_equal(pixels, image)
    assert "-9999" in found.notes[0]


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_pictures_are_turned_by_their_orientation(turn: int, tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        IMAGE,
        photometric="minisblack",
        planarconfig="contig",
        extratags=[(274, 3, 1, turn, True)],
    )
    write_stats(tmp_path / "stats.json", make_stats([str(tmp_path / "a.tif")], BandFlags(bands=5).asked_bands())[0])
    found = chosen(tmp_path, ["a.tif"], bands=5).reading
    assert found is not None
    expected = np.rot90(IMAGE, {1: 0, 3: 2, 6: -1, 8: 1}[turn])
    assert np.array_equal(found(tmp_path / "a.tif").numpy(), expected)
    assert found.sizes(tmp_path / "a.tif")[0] == expected.shape[:2]
    assert found.fitting(tmp_path / "a.tif", HeightWidth(*IMAGE.shape[:2])).shape == IMAGE.shape


def test_rgb_of_8_bits_is_read_as_ever_in_whatever_order_it_is_asked_for(tmp_path: Path) -> None:
    Image.fromarray((IMAGE[..., :3] >> 4).astype(np.uint8)).save(tmp_path / "a.png")
    for names in ("R,G,B", "B,G,R"):
        assert chosen(tmp_path, ["a.png"], bands=names).reading is None
    with pytest.raises(UserError, match="R, G, B"):
        chosen(tmp_path, ["a.png"], bands="R,NIR")
    Image.fromarray((IMAGE[..., 0] >> 4).astype(np.uint8)).save(tmp_path / "grey.png")
    assert chosen(tmp_path, ["a.png", "grey.png"], bands="B,G,R").reading is None
    with pytest.raises(UserError, match="expected 3"):
        chosen(tmp_path, ["a.png", "grey.png"], bands="R,G")
    with pytest.raises(UserError, match=r"got '[RGB]'|grey\.png"):
        chosen(tmp_path, ["grey.png"], bands="R,G,B")


def test_the_only_channel_is_grey_or_has_the_name_that_is_given(tmp_path: Path) -> None:
    Image.fromarray((IMAGE[..., 0] >> 4).astype(np.uint8)).save(tmp_path / "a.png")
    path = str(tmp_path / "a.png")
    write_stats(tmp_path / "grey.json", make_stats([path], BandFlags(bands=1).asked_bands())[0])
    write_stats(tmp_path / "nir.json", make_stats([path], BandFlags(bands="NIR").asked_bands())[0])
    for bands, file, name in (
        ("grey", "grey", "grey"),
        (1, "grey", "grey"),
        ("NIR", "nir", "NIR"),
        (None, "nir", "NIR"),
    ):
        found = chosen(tmp_path, ["a.png"], bands=bands, stats=str(tmp_path / f"{file}.json")).reading
        assert found is not None
        assert found.bands.names == (name,)
        assert found(path).shape == (10, 12, 1)
        assert found(path).dtype == torch.uint8


def test_names_of_the_files_own_are_not_put_in_another_order(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        IMAGE,
        photometric="minisblack",
        planarconfig="contig",
        metadata=None,
        extratags=[(42112, 2, 0, described(FIVE), True)],
    )
    with pytest.raises(UserError, match="order"):
        chosen(tmp_path, ["a.tif"], file_bands="B2,B1,B3,B4,B5")
