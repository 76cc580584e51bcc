"""The words by which a user names images: files, folders, patterns, lists; each image once, and no address."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.image_words import common_parent
from maekit.errors import UserError


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b [1].png", "deep/c.png", "deep/deeper/d.png"):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
    (tmp_path / "photos/notes.md").write_text("no image")
    (tmp_path / "photos/._a.png").write_text("left by another system")
    (tmp_path / "empty").mkdir()
    return Path("photos")


def found(*words: str) -> list[str]:
    return [str(file) for file in GivenImages().find_all(words)]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["photos/a.png"], ["a.png"]),
        (["photos"], ["a.png", "b [1].png", "deep/c.png", "deep/deeper/d.png"]),
        (["photos/*.png"], ["a.png", "b [1].png"]),
        (["photos/?.png"], ["a.png"]),
        (["photos/b [1].png"], ["b [1].png"]),  # a file of that very name is no pattern
        (["photos/**/*.png"], ["a.png", "b [1].png", "deep/c.png", "deep/deeper/d.png"]),
        (["photos/**"], ["a.png", "b [1].png", "deep/c.png", "deep/deeper/d.png"]),
        (["photos/de*"], ["deep/c.png", "deep/deeper/d.png"]),
        (["photos/*"], ["a.png", "b [1].png", "deep/c.png", "deep/deeper/d.png"]),
        (["photos/deep", "photos/a.png", "photos/deep/../deep/c.png"], ["deep/c.png", "deep/deeper/d.png", "a.png"]),
    ],
)
def test_words_name_images(photos: Path, words: list[str], names: list[str]) -> None:
    assert found(*words) == [f"photos/{name}" for name in names]


def test_a_name_is_taken_once_and_said(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = GivenImages()
    files = given.find_all(["photos/a.png", "./photos/a.png", str(photos.absolute() / "a.png"), "photos/deep/c.png"])
    assert files == [photos / "a.png", photos / "deep/c.png"]
    given.choose_reading(files)
    assert capsys.readouterr().err == "maekit: 2 images named more than once, taken once\n"


@pytest.mark.parametrize(("word", "encoding"), [("@l.lst", "utf-8"), ("l.txt", "utf-8-sig"), ("@l.txt", "utf-16")])
def test_a_list_names_files_and_folders(photos: Path, word: str, encoding: str) -> None:
    Path(word.removeprefix("@")).write_bytes("photos/a.png\r\n\r\n  photos/deep  \r\n".encode(encoding))
    assert found(word) == ["photos/a.png", "photos/deep/c.png", "photos/deep/deeper/d.png"]


def test_a_list_may_come_from_standard_input(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"photos/a.png\nphotos/deep\n"))
    monkeypatch.setattr("sys.stdin", lines)
    assert found("-") == ["photos/a.png", "photos/deep/c.png", "photos/deep/deeper/d.png"]
    monkeypatch.setattr(lines, "isatty", lambda: True)
    with pytest.raises(UserError, match="terminal"):
        found("-")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among files")
def test_a_pipe_is_left_out_and_names_with_line_breaks_stay_on_one_line(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(photos / "pipe.png")
    (photos / "two\nlines.png").touch()
    given = GivenImages()
    given.choose_reading(files := given.find_all(["photos"]))
    assert list(given.batches(files[-1:], lambda image: image, 1)) == []
    given.write_skipped(Path())
    lines = dict(line.split("\t") for line in Path("skipped.txt").read_text().splitlines())
    assert lines["photos/pipe.png"] == "a pipe or a device" and lines["photos/two\\nlines.png"].startswith(
        "is an empty file"
    )
    printed = capsys.readouterr().err.splitlines()
    assert all(line.startswith("maekit: ") for line in printed) and "1 pipe or device" in printed[0]
    with pytest.raises(UserError, match="a pipe or a device"):
        found("photos/pipe.png")


def test_a_list_is_relative_to_its_own_folder_too(photos: Path) -> None:
    (photos / "deep/files.txt").write_text("c.png\n")
    assert found("photos/deep/files.txt") == ["photos/deep/c.png"]
    Image.new("RGB", (8, 8)).save("c.png")  # the current folder comes first
    assert found("photos/deep/files.txt") == ["c.png"]


def test_missing_lines_of_a_list_are_left_out_and_listed(photos: Path) -> None:
    Path("files.txt").write_text("nothere.png\nphotos/a.png\nnor/there.png\n")
    given = GivenImages()
    assert given.find_all(["files.txt"]) == [photos / "a.png"]
    assert given.notices == ["files.txt: left out: 2 lines that name no file, the first: nothere.png"]
    assert "2 could not be read" in given.write_skipped(Path())
    assert Path("skipped.txt").read_text().splitlines() == [
        "nothere.png\tno such file (line 1 of files.txt)",
        "nor/there.png\tno such file (line 3 of files.txt)",
    ]


def test_what_a_pattern_finds_besides_images_is_listed(photos: Path) -> None:
    given = GivenImages()
    given.find_all(["photos/*"])
    assert given.skipped == [("photos/notes.md", "its name is not an image's")]


@pytest.mark.parametrize(
    ("word", "fact"),
    [
        ("https://a.b/c.jpg", "download it first"),
        ("s3://bucket/c.jpg", "download it first"),
        ("photos/*.jpg", "matches nothing"),
        ("photos/*.md", "matches 1 path, none an image"),
        ("photos/**/*.jpg", "matches nothing"),
        ("photo", "did you mean 'photos'?"),
        ("empty", "no images in this folder"),
        ("@nothere.lst", "no such file, expected a list"),
        ("blank.txt", "an empty list"),
        ("wrong.txt", "none of its 2 lines is an image or folder, such as x.png"),
        ("web.txt", "web.txt:2: http://a.b/c.png is an address"),
    ],
)
def test_a_word_without_images_is_one_line(photos: Path, word: str, fact: str) -> None:
    Path("blank.txt").write_text("\n  \n")
    Path("wrong.txt").write_text("x.png\ny.png\n")
    Path("web.txt").write_text("photos/a.png\nhttp://a.b/c.png\n")
    with pytest.raises(UserError) as error:
        found(word)
    assert fact in str(error.value) and "\n" not in str(error.value)


def test_the_common_parent_is_absolute(photos: Path) -> None:
    here = Path.cwd()
    assert common_parent([Path("photos/a.png")]) == here / "photos"
    assert common_parent([Path("photos/deep/../a.png"), Path("photos/deep/c.png")]) == here / "photos"
    assert common_parent([Path("x.png"), here / "photos/a.png"]) == Path(os.fspath(here))
