"""A picture of each found object, cut out of the file at its full size."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.base.predict_options import PredictOptions
from maekit.detection.crops import inside
from maekit.detection.metrics.coco_masks import CocoResults, encode_masks
from maekit.detection.predictions import DetectionWriter, FoundObjects
from maekit.system.size import HeightWidth

SIZE = HeightWidth(200, 400)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10.2, 20.7, 30.1, 40.0), (10, 20, 31, 40)),
        ((-5.0, -3.0, 999.0, 999.0), (0, 0, 400, 200)),
        ((399.9, 199.9, 400.0, 200.0), (399, 199, 400, 200)),
        ((400.0, 200.0, 400.0, 200.0), (399, 199, 400, 200)),  # an empty box at the border is a pixel
    ],
)
def test_a_crop_is_the_pixels_that_a_box_touches(
    box: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert inside(box, SIZE, SIZE) == expected
    half = inside(box, SIZE, HeightWidth(100, 200))
    assert 0 <= half[0] < half[2] <= 200 and 0 <= half[1] < half[3] <= 100


def _found(*boxes: tuple[float, float, float, float], scores: tuple[float, ...]) -> FoundObjects:
    masks = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    labels = np.arange(len(boxes)) % 2
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return FoundObjects(SIZE, CocoResults(rows, np.array(scores, np.float32), labels, encode_masks(masks)))


def _picture() -> Image.Image:
    """Each pixel has a colour of its own."""
    rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
    return Image.fromarray(np.stack([rows, columns // 2, 127 + columns % 2], 2).astype(np.uint8))


@pytest.mark.parametrize("full", [True, False])
def test_each_listed_object_is_cut_out_and_named_in_the_table(tmp_path: Path, full: bool) -> None:
    whole = _picture()
    options = PredictOptions(crops=True, score=0.25, root=tmp_path, full_picture=(lambda _: whole) if full else None)
    writer = DetectionWriter(tmp_path / "out", ["a/b", "dog"], [7, 9], options)
    boxes = (10.0, 20.0, 30.0, 60.0), (100.5, 50.5, 400.0, 200.0), (0.0, 0.0, 9.0, 9.0)
    small = whole.resize((200, 100))
    writer.write(tmp_path / "in/x.jpg", small, _found(*boxes, scores=(0.5, 0.75, 0.125)))
    writer.write(tmp_path / "in/y.jpg", small, _found(scores=()))
    writer.write(tmp_path / "in/deep/x.jpg", small, _found(boxes[0], scores=(0.25,)))
    writer.close()
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["crops/000001_x_dog.png", "crops/000002_x_a-b.png", "crops/000003_x_a-b.png"]
    assert [row["crop"] for row in rows] == names
    assert [(row["class"], row["category_id"], row["score"]) for row in rows] == [
        ("dog", "9", "0.75"), ("a/b", "7", "0.5"), ("a/b", "7", "0.25")
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out/crops").iterdir()) == [Path(name).name for name in names]
    factor = 1 if full else 2
    for name, box in zip(names, ((100, 50, 400, 200), (10, 20, 30, 60), (10, 20, 30, 60)), strict=True):
        crop = np.asarray(Image.open(tmp_path / "out" / name))
        part = [side // factor for side in box]
        np.testing.assert_array_equal(crop, np.asarray((whole if full else small).crop(tuple(part))))  # type: ignore[arg-type]


def test_csv_and_json_list_the_same_objects(tmp_path: Path) -> None:
    writer = DetectionWriter(tmp_path, ["a", "b"], [7, 9], PredictOptions(score=0.3))
    boxes = (10.123, 20.0, 30.0, 60.0), (100.5, 50.5, 400.0, 200.0)
    writer.write(Path("/in/x.jpg"), _picture(), _found(*boxes, scores=(0.3, 0.29)))
    writer.write(Path("/in/y.jpg"), _picture(), _found(scores=()))
    writer.close()
    held = json.loads((tmp_path / "predictions.json").read_text())
    assert (held["kind"], held["score"], [image["file"] for image in held["images"]]) == (
        "objects", 0.3, ["/in/x.jpg", "/in/y.jpg"]
    )  # fmt: skip
    with (tmp_path / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    ((one,), nothing) = (image["objects"] for image in held["images"])
    assert nothing == [] and (one["x0"], one["mask_pixels"], one["crop"]) == (10.12, 20 * 40, None)
    texts = {name: "" if value is None else str(value) for name, value in one.items()}
    assert row == {"file": "/in/x.jpg", "width": "400", "height": "200", **texts}
    assert len(json.loads((tmp_path / "coco_results.json").read_text())) == 2  # whatever their scores
