import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.detection.data.annotation import Annotation
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.metrics.coco_masks import CocoResults, encode_masks
from maekit.detection.pictures import COLOURS, Shown, detection_panel, detection_picture, shown_results, shown_truth
from maekit.detection.predictions import DetectionPredictor, DetectionWriter
from maekit.detection.tags import Box, Place, Tag, draw_tags, ink_on
from maekit.drawing.legend import Entry, draw_legend
from maekit.drawing.text import font_for
from maekit.errors import UserError
from maekit.system.size import HeightWidth

NAMES = ["cat", "a dog", "椅子"]
GREY = (120, 120, 120)


def _pixels(picture: Image.Image) -> Any:
    return np.asarray(picture).astype(int)


def _shown(box: tuple[int, int, int, int], size: HeightWidth, label: int = 0, **more: Any) -> Shown:
    """Its mask is the lower half of the box."""
    x0, y0, x1, y1 = box
    mask = np.zeros((1, *size), dtype=bool)
    mask[0, (y0 + y1) // 2 : y1, x0:x1] = True
    return Shown((x0, y0, x1, y1), label, encode_masks(mask)[0], **more)


def _mixed(label: int) -> Any:
    return np.round(0.6 * np.array(GREY) + 0.4 * np.array(COLOURS[label]))


def test_a_mask_is_mixed_with_the_photograph_inside_its_edge() -> None:
    size = HeightWidth(480, 640)
    picture = _pixels(
        detection_picture(Image.new("RGB", (640, 480), GREY), [_shown((100, 50, 300, 450), size)], size, NAMES)
    )
    assert (picture[256:444, 108:292] == _mixed(0)).all()
    assert (picture[250, 108:292] == COLOURS[0]).all(), "the edge of the mask"
    assert (picture[60:240, 110:290] == GREY).all(), "the upper half of the box"
    assert (picture[60:440, 100:103] == COLOURS[0]).all(), "the box"
    assert (picture[60:440, 99] == 0).all(), "its own edge"
    assert (picture[460:480] == GREY).all()


def test_the_smaller_mask_lies_on_the_larger() -> None:
    size = HeightWidth(480, 640)
    objects = [_shown((200, 200, 300, 440), size, 1), _shown((100, 50, 500, 450), size, 0)]
    for given in (objects, objects[::-1]):
        picture = _pixels(detection_picture(Image.new("RGB", (640, 480), GREY), given, size, NAMES))
        expected = np.round(0.6 * _mixed(0) + 0.4 * np.array(COLOURS[1]))
        assert (picture[330:430, 210:290] == expected).all()


def test_boxes_and_masks_follow_the_scale() -> None:
    """A file of 1600 x 1200 shown in a picture of 640 x 480, and one of 64 x 48 enlarged to 640 x 480."""
    for factor in (2.5, 0.1):
        size = HeightWidth(round(480 * factor), round(640 * factor))
        corners = [round(side * factor) for side in (100, 50, 300, 450)]
        one = _shown((corners[0], corners[1], corners[2], corners[3]), size)
        image = Image.new("RGB", (640, 480) if factor > 1 else (64, 48), GREY)
        picture = _pixels(detection_picture(image, [one], size, NAMES))
        assert picture.shape[1] == 640
        assert (picture[262:440, 110:290] == _mixed(0)).all()
        assert (picture[60:235, 110:290] == GREY).all()


def test_a_crowd_is_striped() -> None:
    size = HeightWidth(480, 640)
    one = _shown((100, 50, 300, 450), size, crowd=True)
    area = _pixels(detection_picture(Image.new("RGB", (640, 480), GREY), [one], size, NAMES))[256:444, 108:292]
    assert 0.45 < (area == _mixed(0)).all(2).mean() < 0.55
    assert 0.45 < (area == GREY).all(2).mean() < 0.55


@pytest.mark.parametrize("sides", [(1, 1), (32, 32), (40, 6000), (3000, 20), (96, 96), (1200, 1800)])
def test_any_size_gives_a_picture(sides: tuple[int, int]) -> None:
    size = HeightWidth(*sides)
    objects = [_shown((0, 0, size[1], size[0]), size, label, score=0.5) for label in range(3)]
    picture = detection_picture(Image.new("RGB", size[::-1]), objects, size, NAMES)
    assert 320 <= picture.width <= 1600
    assert picture.height <= 1800
    panel = detection_panel([(Image.new("RGB", size[::-1]), size, objects, [])], NAMES)
    assert 560 <= panel.width <= 1156


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_mode_of_image_is_taken(mode: str) -> None:
    objects = [_shown((10, 10, 50, 40), HeightWidth(60, 80), score=0.5)]
    assert detection_picture(Image.new(mode, (80, 60)), objects, HeightWidth(60, 80), NAMES).mode == "RGB"


def test_objects_out_of_the_picture_or_without_a_mask_are_no_trouble() -> None:
    size = HeightWidth(40, 60)
    empty = encode_masks(np.zeros((1, *size), dtype=bool))[0]
    boxes = [(-20.0, -20.0, 5.0, 5.0), (70.0, 50.0, 90.0, 60.0), (10.0, 10.0, 10.0, 10.0)]
    assert (
        detection_picture(Image.new("RGB", (60, 40)), [Shown(box, 0, empty) for box in boxes], size, NAMES).width == 640
    )


def _tagged(boxes: Sequence[Box]) -> tuple[list[Place], np.ndarray]:
    """The places of the tags that were drawn, and the picture of 640 x 480 pixels."""
    picture = Image.new("RGB", (640, 480), (255, 255, 255))
    font, font_size = font_for(640)
    tags = [Tag(box, f"name {number}", COLOURS[0]) for number, box in enumerate(boxes)]
    return draw_tags(picture, tags, font, font_size), _pixels(picture)


def _apart(places: Sequence[Place]) -> bool:
    """Whether no pixel is in two places, by counting."""
    counts = np.zeros((480, 640), dtype=int)
    for x0, y0, x1, y1 in places:
        counts[y0:y1, x0:x1] += 1
    return bool(counts.max() == 1)


def test_names_neither_overlap_nor_leave_the_picture() -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(-20, 620, (40, 2))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, rng.uniform(5, 300, (40, 2)), strict=True)]
    places, pixels = _tagged(boxes)
    assert len(places) >= 25
    assert _apart(places)
    for place in places:
        assert 0 <= place[0] < place[2] <= 640
        assert 0 <= place[1] < place[3] <= 480
        assert (pixels[place[1], place[0] : place[2]] == 0).all(), "its frame is whole"
        assert (pixels[place[1] : place[3], place[2] - 1] == 0).all()


def test_a_name_stands_on_its_box_or_inside_at_the_upper_edge() -> None:
    ((x0, _, _, y1),), _ = _tagged([(100, 200, 300, 400)])
    assert (x0, y1) == (100, 200)
    ((x0, y0, _, _),), _ = _tagged([(100, 2, 300, 400)])
    assert (x0, y0) == (100, 0)


def test_many_objects_in_one_place_show_as_many_names_as_have_room() -> None:
    places, _ = _tagged([(100, 100, 200, 200)] * 30)
    assert 6 <= len(places) < 30
    assert _apart(places)


def test_text_has_contrast_on_every_colour() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        shares = [value / 255 for value in colour]
        linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for colour in COLOURS:
        one, other = sorted((luminance(colour), luminance(ink_on(colour))))
        assert (other + 0.05) / (one + 0.05) > 4.5, colour
    assert len(set(COLOURS)) == 12


def _drawn(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    seen: list[Entry] = []

    def recorded(entries: list[Entry], *rest: Any) -> Image.Image:
        seen.extend(entries)
        return draw_legend(entries, *rest)

    monkeypatch.setattr("maekit.drawing.legend.draw_legend", recorded)
    return seen


def test_the_legend_counts_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, size, image = _drawn(monkeypatch), HeightWidth(48, 64), Image.new("RGB", (64, 48))
    truth = [_shown((2, 2, 20, 20), size, label) for label in (1, 1, 2)]
    found = [_shown((2, 2, 20, 20), size, label, score=0.7) for label in (0, 2)]
    detection_panel([(image, size, truth, found), (image, size, truth, [])], NAMES)
    assert seen == [
        Entry("a dog", "4 / 0", COLOURS[1]), Entry("label 2", "2 / 1", COLOURS[2]), Entry("cat", "0 / 1", COLOURS[0])
    ]  # fmt: skip
    seen.clear()
    detection_picture(image, [], size, NAMES)
    assert seen == [Entry("no objects", "", swatch=False)]
    seen.clear()
    many = [_shown((2, 2, 20, 20), size, label) for label in range(30)]
    detection_picture(image, many, size, [f"n{label}" for label in range(30)])
    assert len(seen) == 25
    assert seen[-1] == Entry("and 6 more", "6", swatch=False)
    assert len({entry.colour for entry in seen}) == 25, "36 classes have colours of their own"


def test_a_panel_shows_the_truth_beside_the_prediction() -> None:
    size, image = HeightWidth(480, 640), Image.new("RGB", (640, 480), GREY)
    panel = _pixels(detection_panel([(image, size, [_shown((0, 0, 640, 480), size)], [])], NAMES))
    assert panel.shape[1] == 1156
    assert (panel[300:440, 32:552] == _mixed(0)).all()
    assert (panel[100:440, 604:1124] == GREY).all()


def test_annotations_and_results_become_objects() -> None:
    size = HeightWidth(40, 50)
    whole = encode_masks(np.ones((2, *size), dtype=bool))
    notes: list[Annotation] = [
        {"category_id": 7, "bbox": [1, 2, 3, 4], "segmentation": [[1.0, 2, 4, 2, 4, 6, 1, 6]]},
        {"category_id": 5, "bbox": [0, 0, 50, 40], "segmentation": whole[0], "iscrowd": 1},
        {"category_id": 6, "bbox": [0, 0, 9, 9], "segmentation": []},
    ]
    crowd, plain = shown_truth(notes, size, [5, 7])
    assert (crowd.box, crowd.label, crowd.rle, crowd.score, crowd.crowd) == ((0, 0, 50, 40), 0, whole[0], None, True)
    assert (plain.box, plain.label, plain.crowd) == ((1, 2, 4, 6), 1, False)
    found = CocoResults(np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), np.array([0.5, 0.9]), np.array([1, 0]), whole)
    assert [one.score for one in shown_results(found, 0.5)] == [0.9, 0.5]
    assert [one.box for one in shown_results(found, 0.6)] == [(4, 5, 6, 7)]


def _half(image: Image.Image) -> tuple[Tensor, HeightWidth]:
    size = HeightWidth(image.height // 2, image.width // 2)
    pixels = torch.zeros(3, 200, 200)
    pixels[:, : size[0], : size[1]] = torch.from_numpy(np.array(image.resize(size[::-1]))).permute(2, 0, 1) / 255
    return pixels, size


def _detect(images: Tensor, inside: Tensor, original: Tensor) -> list[Detections]:
    """Two objects in the file's pixels if the image is bright, else none."""
    assert images.shape == (1, 3, 200, 200)
    assert (original[0] // 2 == inside[0]).all()
    height, width = original[0].tolist()
    if images[0, :, : inside[0, 0], : inside[0, 1]].mean() < 0.1:
        return [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), torch.zeros(0, 28, 28))]
    boxes = torch.tensor([[2.0, 2, width / 2, height / 2], [0, 0, width, height]])
    return [Detections(boxes, torch.tensor([0.8, 0.3]), torch.tensor([1, 0]), torch.ones(2, 28, 28))]


def _writer(folder: Path, **options: Any) -> DetectionWriter:
    return DetectionWriter(folder, NAMES, [3, 9, 4], PredictOptions(**options))


def _write(writer: DetectionWriter, *files: Path, level: int = 128) -> None:
    predictor = DetectionPredictor(_half, _detect)
    samples = [predictor.prepare(Image.new("RGB", (60, 40), (level,) * 3)) for _ in files]
    for file, sample, found in zip(files, samples, predictor.predict(samples, torch.device("cpu")), strict=True):
        writer.write(file, sample.picture, found)


def test_pictures_and_cocos_own_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = _writer(tmp_path / "out")
    _write(writer, tmp_path / "in/a.jpg", tmp_path / "in/b.jpg")
    _write(writer, tmp_path / "in/c.jpg", level=0)
    _write(writer, tmp_path / "in/a.png")
    assert not (tmp_path / "out" / "coco_results.json").exists()
    assert writer.close() == tmp_path / "out"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("a.png", "a.png.png", "b.png", "c.png", "coco_results.json", "images.json"),
        *("predictions.csv", "predictions.json"),
    ]  # fmt: skip
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [(one["image_id"], one["category_id"]) for one in results] == [(k, c) for k in (1, 2, 4) for c in (9, 3)]
    assert results[0]["bbox"] == [2, 2, 28, 18]
    assert results[1]["score"] == pytest.approx(0.3)
    peer = COCO(tmp_path / "out" / "images.json")
    assert [peer.imgs[number]["file_name"] for number in (1, 2, 3, 4)] == [
        str(tmp_path / "in" / name) for name in ("a.jpg", "b.jpg", "c.jpg", "a.png")
    ]
    assert {number: one["name"] for number, one in peer.cats.items()} == {3: "cat", 9: "a dog", 4: "椅子"}
    found = peer.loadRes(str(tmp_path / "out" / "coco_results.json"))
    mask = found.annToMask(found.anns[1])
    assert mask.shape == (40, 60)
    assert mask[2:20, 2:30].all()
    assert mask.sum() == 28 * 18
    capsys.readouterr()


@pytest.mark.parametrize("level", [0, None])
def test_nothing_found_is_an_empty_list(level: int | None, tmp_path: Path) -> None:
    writer = _writer(tmp_path / "out")
    if level is not None:
        _write(writer, tmp_path / "in/a.jpg", level=level)
    writer.close()
    assert json.loads((tmp_path / "out" / "coco_results.json").read_text()) == []
    assert len(json.loads((tmp_path / "out" / "images.json").read_text())["images"]) == (level is not None)


@pytest.mark.parametrize(("above", "count"), [(0.0, 2), (0.5, 1), (0.9, 0)])
def test_only_good_objects_are_drawn_and_all_are_results(above: float, count: int, tmp_path: Path) -> None:
    writer = _writer(tmp_path / "out", score=above)
    _write(writer, tmp_path / "in/a.jpg")
    writer.close()
    assert len(json.loads((tmp_path / "out" / "coco_results.json").read_text())) == 2
    image = Image.new("RGB", (60, 40), (128,) * 3)
    found = _detect(_half(image)[0][None], torch.tensor([[20, 30]]), torch.tensor([[40, 60]]))[0]
    rles = [result["segmentation"] for result in json.loads((tmp_path / "out" / "coco_results.json").read_text())]
    boxes, scores, labels = (column.numpy() for column in found[:3])
    shown = shown_results(CocoResults(boxes, scores, labels, rles), above)
    assert len(shown) == count
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert (_pixels(picture) == _pixels(detection_picture(image, shown, HeightWidth(40, 60), NAMES))).all()


def test_a_large_image_is_kept_small_and_its_masks_are_not(tmp_path: Path) -> None:
    found = Detections(torch.tensor([[0.0, 0, 3200, 2000]]), torch.ones(1), torch.tensor([0]), torch.ones(1, 28, 28))
    writer = _writer(tmp_path / "out")
    predictor = DetectionPredictor(lambda _: (torch.zeros(3, 8, 8), HeightWidth(5, 8)), lambda *_: [found])
    sample = predictor.prepare(Image.new("RGB", (3200, 2000)))
    assert sample.picture.size == (1600, 1000)
    (objects,) = predictor.predict([sample], torch.device("cpu"))
    writer.write(tmp_path / "a.jpg", sample.picture, objects)
    writer.close()
    (result,) = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert result["segmentation"]["size"] == [2000, 3200]


def test_a_run_that_broke_off_leaves_the_results_of_the_one_before(tmp_path: Path) -> None:
    whole = _writer(tmp_path / "out")
    _write(whole, tmp_path / "in/a.jpg")
    whole.close()
    before = (tmp_path / "out" / "coco_results.json").read_bytes()
    broken = _writer(tmp_path / "out")
    _write(broken, tmp_path / "in/a.jpg", tmp_path / "in/b.jpg")
    del broken
    assert (tmp_path / "out" / "coco_results.json").read_bytes() == before


def test_a_wrong_setting_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="got 2 category ids for 3 classes, expected one each"):
        DetectionWriter(tmp_path / "out", NAMES, [3, 9], PredictOptions())
    with pytest.raises(UserError, match="--top: got it for a model of objects"):
        _writer(tmp_path / "out", top=1)
    assert not (tmp_path / "out").exists()


def test_images_are_never_overwritten(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    with pytest.raises(UserError, match="lies in the folder of the results, which could overwrite it"):
        _write(writer, tmp_path / "a.png")
