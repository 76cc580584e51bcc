"""Images as a user gives them to a command: odd names, loops, what is left out, and lines on a disk that refuses."""

import argparse
import csv
import errno
import os
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit import cli
from maekit.base.predict_options import PredictOptions
from maekit.base.result_places import ResultPlaces
from maekit.classification.data.places.lists import read_list
from maekit.classification.data.raw_val import list_raw_val
from maekit.commands.shared.given_images import GivenImages
from maekit.data.folders.text import read_text, readable_names
from maekit.errors import UserError
from maekit.system.files import atomic_write_text


def command(main: Callable[..., int]) -> types.SimpleNamespace:
    """A command's module without flags of its own, so that `main` is given every word."""
    return types.SimpleNamespace(FORWARDS=True, add_arguments=lambda parser: None, main=main)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.png", "deep/b.jfif", os.fsdecode(b"caf\xe9.png"), "x" * 250 + ".png")):
        Image.new("RGB", (24, 24), (40 * number, 90, 120)).save(folder / name, "PNG")
    (folder / "again").symlink_to(".")
    (folder / "bad.jpg").write_bytes(b"<html>")
    (folder / "c.jxl").write_bytes(b"x")
    return folder


def test_loops_and_other_files_are_left_out_and_listed(photos: Path, tmp_path: Path) -> None:
    given = GivenImages()
    files = given.find(photos)
    assert len(files) == 5
    given.choose_reading(files)
    assert [given.read(file) is not None for file in files].count(True) == 4
    (tmp_path / "out").mkdir()
    words = given.write_skipped(tmp_path / "out")
    assert "1 could not be read, 2 files are no images by their names, see" in words
    lines = (tmp_path / "out/skipped.txt").read_text().splitlines()
    assert {line.split("\t")[0] for line in lines} == {str(photos / name) for name in ("again", "bad.jpg", "c.jxl")}


def test_photos_are_upright_whatever_the_card_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    given = GivenImages({"image_size": 8})
    given.choose_reading([tmp_path / "a.jpg"])
    image = given.read(tmp_path / "a.jpg")
    assert image is not None
    assert image.size == (20, 30)


@pytest.mark.parametrize(("card", "level"), [({"white": 4095.0, "clip": False}, 128), ({}, 128)])
def test_white_comes_from_the_card_or_from_a_sample(card: dict[str, object], level: int, tmp_path: Path) -> None:
    for name, value in (("a.png", 2048), ("b.png", 4095)):
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(tmp_path / name)
    given = GivenImages(card)
    given.choose_reading([tmp_path / "a.png", tmp_path / "b.png"])
    image = given.read(tmp_path / "a.png")
    assert image is not None
    assert np.asarray(image).max() == level


def test_a_long_name_gives_a_short_result(tmp_path: Path) -> None:
    places = ResultPlaces(tmp_path / "out", ("", "_reconstruction"))
    first = places.take(tmp_path / ("é" * 120 + "a.png"))
    other = places.take(tmp_path / ("é" * 120 + "b.png"))
    assert len({*first, *other}) == 4
    for place in (*first, *other):
        place.touch()


def test_names_in_no_known_encoding_go_into_text_files(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    atomic_write_text(tmp_path / "a.csv", f"{name},1\n")
    assert (tmp_path / "a.csv").read_bytes() == b"caf\xe9.jpg,1\n"


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_a_disk_that_refuses_is_one_line(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code), "/some/where")

    monkeypatch.setattr(cli, "import_module", lambda name: command(refuse))
    assert cli.main(["predict"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"maekit: /some/where: {os.strerror(code)}; ")


def test_a_tilde_in_quotes_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[str] = []

    def record(args: argparse.Namespace, words: list[str], *_: object) -> int:
        seen.extend(words)
        return 0

    monkeypatch.setattr(cli, "import_module", lambda name: command(record))
    cli.main(["predict", "--images", "~/a", "--output=~/b", "a~/b", "--x", "~"])
    home = str(tmp_path)
    assert seen == ["--images", f"{home}/a", f"--output={home}/b", "a~/b", "--x", home]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_are_read_with_a_mark_and_any_line_ends(encoding: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(end.join(("é 1", "b 2")).encode(encoding))
    assert read_text(tmp_path / "a.txt") == "é 1\nb 2"
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"a\.txt: cannot be read \(not text in UTF-8: byte 3\)"):
        read_text(tmp_path / "a.txt")


def test_the_table_of_predictions_takes_any_name(tmp_path: Path) -> None:
    from maekit.classification.prediction_tables import ClassTable
    from maekit.classification.predictions import ClassScores

    table = ClassTable(tmp_path, ["a", "b"], PredictOptions())
    scores = ClassScores(np.array([0.75, 0.25], np.float32))
    table.write(Path(os.fsdecode(b"caf\xe9.jpg")), Image.new("RGB", (4, 4)), scores)
    table.close()
    with (tmp_path / "predictions.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.reader(file))[1][0] == os.fsdecode(b"caf\xe9.jpg")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_imagenets_lists_are_read_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    val = tmp_path / "val"
    val.mkdir()
    table = "ImageId,PredictionString\r\nILSVRC2012_val_00000001,n01440764 1 2 3 4\r\n"
    (tmp_path / "LOC_val_solution.csv").write_bytes(table.encode(encoding))
    (tmp_path / "LOC_synset_mapping.txt").write_bytes(b"\xef\xbb\xbfn01440764 tench, Tinca tinca\r\n")
    listing = list_raw_val(val, ["ILSVRC2012_val_00000001.JPEG"], ("n01440764",))
    assert listing.labels.tolist() == [0]
    assert readable_names(tmp_path, ("n01440764",)) == ("tench, Tinca tinca",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_places_lists_are_read_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("/a/airfield/1.jpg 0\r\n/b/beach/2.jpg 1\r\n".encode(encoding))
    listed = read_list(tmp_path / "list.txt")
    assert listed.names == ["a/airfield/1.jpg", "b/beach/2.jpg"]
    assert listed.labels.tolist() == [0, 1]
