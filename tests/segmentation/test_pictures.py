import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.drawing.legend import Entry, draw_legend
from maekit.drawing.text import font_for, plain_name, shortened
from maekit.errors import UserError
from maekit.segmentation.pictures import label_shares, overlay, panel
from maekit.segmentation.predictions import LabelMap, LabelPredictor, Sample, SegmentationWriter
from maekit.system.size import HeightWidth

NAMES = ["wall", "sky", "tree"]
PALETTE = [(200, 0, 0), (0, 0, 240), (255, 255, 255)]


def _pixels(picture: Image.Image) -> Any:
    return np.asarray(picture).astype(int)


def _photo() -> Image.Image:
    return Image.fromarray(load_sample_images().images[0])


def _halves(height: int, width: int) -> Any:
    """Wall on the left, sky on the right, and the last row ignored."""
    labels = np.zeros((height, width), dtype=np.int64)
    labels[:, width // 2 :] = 1
    labels[-1] = 255
    return labels


def _colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in _pixels(picture).reshape(-1, 3)}


def test_colours_are_mixed_with_the_photograph() -> None:
    photo = _photo()
    height, width = photo.height, photo.width
    picture = overlay(photo, _halves(height, width), PALETTE, NAMES, opacity=0.25)
    assert picture.width == width
    mixed, table = _pixels(picture)[: height - 1], np.asarray(PALETTE)
    expected = 0.75 * _pixels(photo)[:-1] + 0.25 * table[_halves(height, width)[:-1]]
    assert np.abs(mixed - expected).max() <= 1  # rounding


def test_an_opacity_of_zero_leaves_the_photograph() -> None:
    photo, labels = _photo(), np.ones((427, 640), dtype=np.uint8)
    assert (_pixels(overlay(photo, labels, PALETTE, NAMES, opacity=0.0))[:427] == _pixels(photo)).all()


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255)])
def test_ignored_pixels_are_hatched_on_any_photograph(background: tuple[int, int, int]) -> None:
    labels = _halves(400, 400)
    labels[100:300] = 255
    area = _pixels(overlay(Image.new("RGB", (400, 400), background), labels, PALETTE, NAMES))[100:300]
    assert 0.4 < (area == 0).all(2).mean() < 0.6
    assert 0.4 < (area > 100).all(2).mean() < 0.6


def test_the_legend_lists_what_is_present_and_nothing_else() -> None:
    labels = _halves(100, 100)
    picture = overlay(Image.new("RGB", (100, 100)), labels, PALETTE, NAMES)
    legend = picture.crop((0, 300, picture.width, picture.height))
    assert {PALETTE[0], PALETTE[1]} <= _colours(legend)
    labels[:] = 1
    alone = overlay(Image.new("RGB", (100, 100)), labels, PALETTE, NAMES)
    legend = alone.crop((0, 300, alone.width, alone.height))
    assert PALETTE[1] in _colours(legend)
    assert PALETTE[0] not in _colours(legend)


def test_shares_count_every_pixel() -> None:
    labels = np.array([[0, 0, 0, 1], [1, 255, 0, 0]])
    assert label_shares([labels], PALETTE, NAMES).tolist() == [5 / 8, 2 / 8, 0, 1 / 8]
    assert label_shares([labels, np.array([[2, 2]])], PALETTE, NAMES).tolist() == [0.5, 0.2, 0.2, 0.1]


def _drawn(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    seen: list[Entry] = []

    def recorded(entries: list[Entry], *rest: Any) -> Image.Image:
        seen.extend(entries)
        return draw_legend(entries, *rest)

    monkeypatch.setattr("maekit.drawing.legend.draw_legend", recorded)
    return seen


def test_the_largest_come_first_and_the_rest_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _drawn(monkeypatch)
    names = [f"class {label}" for label in range(40)]
    palette = [(label, 2 * label, 3 * label) for label in range(40)]
    labels = np.repeat(np.arange(30), np.arange(1, 31)).reshape(15, 31)  # class k has k + 1 pixels of 465
    labels[0, 0] = 255
    overlay(Image.new("RGB", (31, 15)), labels, palette, names)
    assert [entry.name for entry in seen] == [f"class {k}" for k in range(29, 5, -1)] + ["and 5 more", "ignored"]
    assert seen[0] == Entry("class 29", f"{100 * 30 / 465:.1f} %", palette[29])
    assert seen[-2].share == f"{100 * (2 + 3 + 4 + 5 + 6) / 465:.1f} %"
    assert seen[-1] == Entry("ignored", "0.2 %")


def test_a_panel_shows_each_row_and_both_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _drawn(monkeypatch)
    truth, predicted = np.zeros((40, 40), dtype=np.int64), np.ones((40, 40), dtype=np.int64)
    truth[:10] = 255
    grey = Image.new("L", (40, 40), 100)
    picture = panel([(grey, truth, predicted), (_photo(), _halves(427, 640), _halves(427, 640))], PALETTE, NAMES)
    assert [entry.name for entry in seen] == ["sky", "wall", "ignored"]
    pixels = _pixels(picture)
    top = next(row for row in range(len(pixels)) if (pixels[row, 20] == 100).all())  # the first, enlarged tenfold
    assert (pixels[top : top + 400, 12:412] == 100).all()
    assert (np.abs(pixels[top + 100 : top + 400, 424:824] - [170, 30, 30]) <= 1).all()  # 0.7 of wall, 0.3 of grey
    assert (np.abs(pixels[top : top + 400, 836:1236] - [30, 30, 198]) <= 1).all()
    photo = _photo().resize((400, 267), Image.Resampling.LANCZOS)
    assert (pixels[top + 412 : top + 679, 12:412] == _pixels(photo)).all()
    assert seen[0].share.split(" / ")[0] != seen[0].share.split(" / ")[1].removesuffix(" %")


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (6000, 40), (20, 3000), (96, 96), (2500, 1700)])
def test_any_size_gives_a_readable_picture(size: tuple[int, int]) -> None:
    picture = overlay(Image.new("RGB", size, (9, 9, 9)), _halves(size[1], size[0]), PALETTE, NAMES)
    assert max(picture.size) >= 300
    assert picture.width <= 1600
    assert picture.height <= 1700
    both = panel([(Image.new("RGB", size), *2 * [_halves(size[1], size[0])])], PALETTE, NAMES)
    assert 300 <= both.width <= 1248


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_mode_of_image_is_taken(mode: str) -> None:
    assert overlay(_photo().convert(mode), _halves(427, 640), PALETTE, NAMES).mode == "RGB"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sky", "sky"),
        ("Überführung, crème", "Uberfuhrung, creme"),
        ("two\nlines\tand tab", "two lines and tab"),
        ("椅子", "label 7"),
        ("стул", "label 7"),
        ("", "label 7"),
        ("bad \udc80\x00 byte", "bad byte"),
        ("x" * 5000, "x" * 200),
    ],
)
def test_names_are_shown_in_letters_that_can_be_drawn(name: str, shown: str) -> None:
    assert plain_name(name, 7) == shown
    names = [name, *NAMES[1:]]
    assert overlay(Image.new("RGB", (32, 32)), _halves(32, 32), PALETTE, names).width == 384


@pytest.mark.parametrize("width", [300, 640, 1600])
def test_long_names_stay_in_their_column(width: int) -> None:
    font, size = font_for(width)
    assert 14 <= size <= 24
    cut = shortened("swimming pool; swimming bath; natatorium " * 5, font, 200)
    assert cut.endswith("...")
    assert 150 < font.getlength(cut) <= 200
    legend = draw_legend([Entry("natatorium " * 18, "100.0 %", PALETTE[0])] * 5, width)
    assert legend.width == width
    assert (_pixels(legend)[:, -4:] == 255).all(), "text runs off the edge"
    assert (_pixels(legend) < 100).all(2).any()


@pytest.mark.parametrize(
    ("labels", "palette", "message"),
    [
        ([[0, 3]], PALETTE, "got label 3, expected 0 to 2 or 255 for ignored"),
        ([[-1, 0]], PALETTE, "got label -1, expected 0 to 2"),
        ([[0, 0]], PALETTE[:2], "got 2 colours for 3 classes, expected one each"),
    ],
)
def test_wrong_labels_and_palettes_are_refused(labels: Any, palette: Any, message: str) -> None:
    image, values = Image.new("RGB", (2, 1)), np.array(labels)
    draws: list[Callable[[], Image.Image]] = [
        lambda: overlay(image, values, palette, NAMES),
        lambda: panel([(image, np.array([[0, 0]]), values)], palette, NAMES),
    ]
    for draw in draws:
        with pytest.raises(UserError) as error:
            draw()
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


# The writer of `maekit predict`


def _bright(pixels: Tensor, size: HeightWidth) -> Tensor:
    """The class by brightness, at the file's own size."""
    labels = (pixels.mean(0) * 2.99).long()
    rows = torch.arange(size[0]) * labels.shape[0] // size[0]
    columns = torch.arange(size[1]) * labels.shape[1] // size[1]
    return labels[rows][:, columns]


def _half_size(image: Image.Image) -> Tensor:
    small = np.asarray(image.resize((image.width // 2, image.height // 2)))
    return torch.tensor(small).permute(2, 0, 1) / 255


def _writer(folder: Path) -> SegmentationWriter:
    return SegmentationWriter(folder, NAMES, PALETTE, PredictOptions())


def _predicted(image: Image.Image) -> tuple[Sample, LabelMap]:
    predictor = LabelPredictor(_half_size, _bright)
    sample = predictor.prepare(image)
    (found,) = predictor.predict([sample], torch.device("cpu"))
    return sample, found


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_photograph_is_predicted_as_people_see_it(tmp_path: Path, orientation: int) -> None:
    seen = Image.new("RGB", (30, 50))
    seen.paste((255, 255, 255), (0, 0, 30, 10))
    way = {3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270"}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "in").mkdir()
    seen.transpose(Image.Transpose[way]).save(tmp_path / "in/photo.png", exif=exif)
    with Image.open(tmp_path / "in/photo.png") as photo:
        sample = LabelPredictor(_half_size, _bright).prepare(photo)
    assert sample.size == (50, 30)
    np.testing.assert_array_equal(np.asarray(sample.picture), np.asarray(seen))
    assert sample.pixels[:, :4].min() > sample.pixels[:, 6:].max()


def _write(writer: SegmentationWriter, *files: str | Path, level: int = 128) -> None:
    for file in files:
        sample, found = _predicted(Image.new("RGB", (40, 30), (level,) * 3))
        writer.write(Path(file), sample.picture, found)


def _found(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*.png"))


def test_two_pictures_are_written_for_each_image(tmp_path: Path) -> None:
    writer, photo = _writer(tmp_path / "out"), _photo()
    sample, found = _predicted(photo)
    writer.write(tmp_path / "in" / "photo.jpg", sample.picture, found)
    assert writer.close() == tmp_path / "out"
    assert _found(tmp_path / "out") == ["photo.png", "photo_labels.png"]
    labels = _bright(_half_size(photo), HeightWidth(photo.height, photo.width)).numpy()
    assert len(np.unique(labels)) == 3
    with Image.open(tmp_path / "out" / "photo_labels.png") as indexed:
        assert indexed.mode == "P"
        assert (np.asarray(indexed) == labels).all()
        assert (np.asarray(indexed.convert("RGB")) == np.asarray(PALETTE)[labels]).all()
    with Image.open(tmp_path / "out" / "photo.png") as picture:
        assert (_pixels(picture) == _pixels(overlay(photo, labels, PALETTE, NAMES))).all()


def test_a_large_image_is_kept_small_and_its_labels_are_not(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "out")
    image = _photo().resize((3200, 2135))
    sample, found = _predicted(image)
    assert sample.picture.size == (1600, 1068)
    assert image.size == (3200, 2135)
    writer.write(tmp_path / "a.png", sample.picture, found)
    with Image.open(tmp_path / "out" / "a_labels.png") as labels, Image.open(tmp_path / "out" / "a.png") as picture:
        assert labels.size == (3200, 2135)
        assert picture.width == 1600


def test_results_mirror_the_folders_of_the_images(tmp_path: Path) -> None:
    """The common parent is known only when the last file came."""
    writer = _writer(tmp_path / "out")
    _write(writer, tmp_path / "in/b/c/x.jpg")
    _write(writer, tmp_path / "in/b/c/c/x.jpg", level=0)
    assert _found(tmp_path / "out") == ["c/x.png", "c/x_labels.png", "x.png", "x_labels.png"]
    _write(writer, tmp_path / "in/b/x.jpg", level=250)
    _write(writer, tmp_path / "in/a/x.jpg", level=0)
    names = ["a/x", "b/c/c/x", "b/c/x", "b/x"]
    assert _found(tmp_path / "out") == [f"{name}{ending}.png" for name in names for ending in ("", "_labels")]
    writer.close()
    images = json.loads((tmp_path / "out/predictions.json").read_text())["images"]
    places = ["b/c/x_labels.png", "b/c/c/x_labels.png", "b/x_labels.png", "a/x_labels.png"]
    assert [one["labels_file"] for one in images] == places
    for name, label in zip(names, (0, 0, 1, 2), strict=True):
        assert np.asarray(Image.open(tmp_path / "out" / f"{name}_labels.png")).max() == label


def test_equal_names_of_one_folder_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = _writer(Path("out"))
    _write(writer, "in/a.jpg", "in/a.png", "in/A.webp", "in/a_labels.jpg", tmp_path / "in" / "a.jpg")
    assert len(_found(tmp_path / "out")) == 10
    assert {"a.png", "a_labels.png", "a.png.png", "A.webp.png", "a_labels.jpg.png"} <= set(_found(tmp_path / "out"))


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    for level in (0, 250):
        writer = _writer(tmp_path / "out")
        _write(writer, tmp_path / "in/a/x.jpg", tmp_path / "in/b/x.jpg", level=level)
    assert len(_found(tmp_path / "out")) == 4
    assert np.asarray(Image.open(tmp_path / "out" / "a" / "x_labels.png")).min() == 2


@pytest.mark.parametrize("files", [["out/x.png"], ["out/b/x.png", "out/x.png"]])
def test_images_are_never_overwritten(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("an image")
    writer = _writer(Path("out"))
    with pytest.raises(UserError) as error:
        for file in files:
            _write(writer, file)
    assert str(error.value) == (
        f"{files[0]}: lies in the folder of the results, which could overwrite it; choose another --output than out"
    )
    assert all(Path(file).read_text() == "an image" for file in files)


def test_more_classes_than_a_byte_has_are_refused(tmp_path: Path) -> None:
    names = [str(label) for label in range(256)]
    with pytest.raises(UserError, match=r"^got 256 colours for 256 classes, expected one each and at most 255 classes"):
        SegmentationWriter(tmp_path, names, [(0, 0, 0)] * 256, PredictOptions())
