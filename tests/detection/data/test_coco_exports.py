"""COCO files as other tools export them: read as they mean it, or refused with the place and what to do."""

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.detection.data.coco.boxes import compare_boxes
from maekit.detection.data.coco.rle import counts_of_bitmap
from maekit.detection.data.transforms import DetEvalTransform
from maekit.errors import UserError
from tests.detection.data.helpers import NUMBERS, read_coco
from tests.detection.data.helpers_exports import (
    SIDE,
    Entry,
    annotation,
    build,
    check,
    export,
    points,
    refused,
    runs,
    used,
)


def move(change: Callable[[list[float]], list[float]]) -> Callable[[Entry], Entry]:
    """Changes the bbox."""
    return lambda entry: {**entry, "bbox": change(entry["bbox"])}


def shape(change: Callable[[float, float], tuple[float, float]]) -> Callable[[Entry], Entry]:
    """Changes the points of the polygon."""

    def changed(entry: Entry) -> Entry:
        points = np.array(entry["segmentation"][0]).reshape(-1, 2).tolist()
        return {**entry, "segmentation": [[side for point in points for side in change(*point)]]}

    return changed


FORMS: dict[str, tuple[Callable[[Entry], Entry], str]] = {
    "corners": (move(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]), "its bboxes are x0, y0, x1, y1"),
    "shares": (move(lambda b: [v / SIDE for v in b]), "its bboxes are shares of the image"),
    "corners as shares": (
        move(lambda b: [b[0] / SIDE, b[1] / SIDE, (b[0] + b[2]) / SIDE, (b[1] + b[3]) / SIDE]),
        "its bboxes are x0, y0, x1, y1 as shares",
    ),
    "centre": (
        move(lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]),
        "its bboxes are centre x, centre y, width",
    ),
    "YOLO": (
        move(lambda b: [(b[0] + b[2] / 2) / SIDE, (b[1] + b[3] / 2) / SIDE, b[2] / SIDE, b[3] / SIDE]),
        "as YOLO has them",
    ),
    "percent": (move(lambda b: [100 * v / SIDE for v in b]), "its bboxes are percent"),
    "axes": (move(lambda b: [b[1], b[0], b[3], b[2]]), "its bboxes are y, x, height, width"),
    "axes of corners": (move(lambda b: [b[1], b[0], b[1] + b[3], b[0] + b[2]]), "its bboxes are y0, x0, y1, x1"),
    "boxes of a larger copy": (
        move(lambda b: [3 * b[0], 2 * b[1], 3 * b[2], 2 * b[3]]),
        "0.333 times as wide and 0.5 times",
    ),
    "shapes as shares": (shape(lambda x, y: (x / SIDE, y / SIDE)), "its shapes are shares of the image (0 to 1)"),
    "shapes of a larger copy": (shape(lambda x, y: (4 * x, 4 * y)), "4 times as wide and 4 times as high"),
    "both as shares": (
        lambda entry: move(lambda b: [v / SIDE for v in b])(shape(lambda x, y: (x / SIDE, y / SIDE))(entry)),
        "its shapes are shares of the image (0 to 1)",
    ),
}


@pytest.mark.parametrize(("annotate", "fact"), FORMS.values(), ids=FORMS)
def test_boxes_and_shapes_in_different_forms_are_refused(annotate: Any, fact: str, tmp_path: Path) -> None:
    root = export(tmp_path / "d", annotate=annotate)
    line = refused(root)
    assert line.startswith(f"{root / 'train.json'}: ")
    assert fact in line
    assert any(problem.startswith(f"{root / 'val.json'}: ") and fact in problem for problem in check(root).problems)


def test_a_few_boxes_beside_their_shapes_are_counted_and_stop_nothing(tmp_path: Path) -> None:
    def odd(entry: Entry) -> Entry:
        return {**entry, "bbox": [40, 40, 9, 9]} if entry["id"] == 3 else entry

    root = export(tmp_path / "d", annotate=odd)
    data = build(root)
    assert "train.json: 1 bboxes are not around their shapes" in data.summary()
    assert any(
        "bboxes that are not around their shapes: 1 (the first: annotation 3 of" in p for p in check(root).problems
    )
    wild = export(
        tmp_path / "e", annotate=lambda entry: {**entry, "bbox": [entry["id"] * 7 % 40, 50, 3, 60 % (entry["id"] + 3)]}
    )
    assert "8 bboxes are not around their shapes" in build(wild).summary(), "no form explains them"


def test_boxes_of_run_lengths_are_those_of_their_bitmaps(tmp_path: Path) -> None:
    """Against the rows and columns of the bitmap itself, shapes that touch every edge among them."""
    rng = np.random.default_rng(0)
    bitmaps = [rng.random((13, 9)) < density for density in (0.02, 0.05, 0.3, 0.9)] + [np.ones((13, 9), bool)]
    images = [{"id": n, "file_name": f"{n}.png", "width": 9, "height": 13} for n in range(len(bitmaps))]
    notes = []
    for number, bitmap in enumerate(bitmaps):
        runs = {"size": [13, 9], "counts": counts_of_bitmap(bitmap)}
        rows, columns = (np.flatnonzero(bitmap.any(axis=axis)).tolist() for axis in (1, 0))
        box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
        notes.append({"id": number + 1, "image_id": number, "category_id": 1, "bbox": box, "segmentation": runs})
    values = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "red"}]}
    file = tmp_path / "a.json"
    file.write_text(json.dumps(values))
    found = read_coco(file, tmp_path)
    compared = compare_boxes(found.objects, found.sizes)
    assert (compared.with_both, compared.apart.sum()) == (5, 0)


def with_root(name: str) -> Callable[[Entry], Any]:
    """Roboflow's categories."""
    root = {"id": 0, "name": name, "supercategory": "none"}
    return lambda values: values.update(categories=[root, {"id": 1, "name": "red", "supercategory": name}])


@pytest.mark.parametrize("name", ["things", "red"])
def test_roboflows_root_category_is_no_class(name: str, tmp_path: Path) -> None:
    data = used(export(tmp_path / "d", edit=with_root(name)))
    assert data.spec().class_names == ("red",)
    assert f"train.json: category 0 '{name}' only groups others and has no object, so it is no class" in data.summary()


def test_a_category_without_objects_stays_and_is_told(tmp_path: Path) -> None:
    more = [{"id": 7, "name": "blue", "supercategory": "none"}, {"id": 8, "name": "person", "supercategory": "person"}]
    same = [{"id": 7, "name": "7"}, {"id": 8, "name": "7.0"}, {"id": 9, "name": "Red"}]
    assert "'7' and '7.0' are the same number" in refused(
        export(tmp_path / "s", edit=lambda values: values["categories"].extend(same))
    )
    del same[1]
    data = used(export(tmp_path / "c", edit=lambda values: values["categories"].extend(same)))
    assert "two classes each, though they differ in case alone: 'red' and 'Red'" in data.summary()
    data = used(export(tmp_path / "d", edit=lambda values: values["categories"].extend(more)))
    assert data.spec().class_names == ("red", "blue", "person")
    assert "; no training object of blue, person" in data.summary()


def test_a_root_with_objects_is_a_class(tmp_path: Path) -> None:
    def first_is_root(values: Entry) -> None:
        with_root("things")(values)
        values["annotations"][0]["category_id"] = 0

    assert used(export(tmp_path / "d", edit=first_is_root)).spec().class_names == ("things", "red")


def as_text(values: Entry) -> None:
    for entry in values["images"]:
        entry.update(id=str(entry["id"]), width=str(entry["width"]), height=float(entry["height"]))
    for entry in values["annotations"]:
        entry.update(
            id=f"{entry['id']}.0",
            image_id=float(entry["image_id"]),
            category_id="1",
            area=str(entry["area"]),
            iscrowd="0",
        )
        entry["bbox"] = [str(side) for side in entry["bbox"]]
        entry["segmentation"] = json.dumps(entry["segmentation"])
    values["categories"] = [{"id": 1.0, "name": "red"}]


def test_numbers_as_text_and_whole_floats_are_numbers(tmp_path: Path) -> None:
    plain, text = used(export(tmp_path / "a")), used(export(tmp_path / "b", edit=as_text))
    for index in range(4):
        assert text.val_dataset()[Draw(0, index)].truth == plain.val_dataset()[Draw(0, index)].truth
    assert text.spec() == plain.spec()


@pytest.mark.parametrize("value", ["1.5", 1.5, "one", "", True, None, [1], 2**63, "9" * 25, float("nan"), float("inf")])
def test_what_is_no_whole_number_is_refused_with_its_entry(value: Any, tmp_path: Path) -> None:
    root = export(tmp_path / "d", edit=lambda values: values["annotations"][2].update(category_id=value))
    assert "annotations[2].category_id: " in refused(root)


def without_size(size: Entry, entry: Entry) -> Entry:
    return {"id": entry["id"], "file_name": entry["file_name"], **size}


def test_missing_sizes_are_read_from_the_pictures(tmp_path: Path) -> None:
    sizes: list[Entry] = [{"width": None, "height": None}, {"width": 0, "height": 0}, {}]
    for number, size in enumerate(sizes):
        root = export(tmp_path / str(number), list_image=partial(without_size, size), sizes=(80, 60))
        data = used(root)
        assert data.val_dataset()[Draw(0, 0)].original == (60, 80)
        assert "the sizes of 8 images are missing and were read from the images" in data.summary()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (60, 80)).save(root / "val/1.png", exif=turned)
    assert build(root).val_dataset()[Draw(0, 0)].original == (60, 80), "as people see it"
    (root / "val/2.png").write_bytes(b"no image")
    assert f"{root}/val/2.png" in refused(root)


def test_width_and_height_that_are_swapped_are_named(tmp_path: Path) -> None:
    def swap(entry: Entry) -> Entry:
        return {**entry, "width": entry["height"], "height": entry["width"]}

    root = export(tmp_path / "d", list_image=swap, sizes=(80, 60))
    swapped = [line for line in check(root).problems if "width and height are swapped" in line]
    assert len(swapped) == 2
    assert "8 of 8 images" in swapped[0]


QUIRKS: dict[str, Callable[[Entry], Any]] = {
    "iscrowd missing": lambda entry: entry.pop("iscrowd"),
    "iscrowd null": lambda entry: entry.update(iscrowd=None),
    "iscrowd false": lambda entry: entry.update(iscrowd=False),
    "area missing": lambda entry: entry.pop("area"),
    "area null": lambda entry: entry.update(area=None),
    "area 0": lambda entry: entry.update(area=0),
    "area below 0": lambda entry: entry.update(area=-1),
    "area NaN": lambda entry: entry.update(area=float("nan")),
    "area as text": lambda entry: entry.update(area=f"{entry['area']}.0"),
    "a flat polygon": lambda entry: entry.update(segmentation=entry["segmentation"][0]),
    "a polygon of points": lambda entry: entry.update(segmentation=points(entry, (-1, 2))),
    "polygons of points": lambda entry: entry.update(segmentation=points(entry, (1, -1, 2))),
    "run lengths in a list": lambda entry: entry.update(segmentation=[runs(entry)]),
    "run lengths as text": lambda entry: entry.update(segmentation=json.dumps(runs(entry))),
}


@pytest.mark.parametrize("change", QUIRKS.values(), ids=QUIRKS)
def test_quirks_of_one_annotation_are_read_as_meant(change: Callable[[Entry], Any], tmp_path: Path) -> None:
    def changed(entry: Entry) -> Entry:
        change(entry)
        return entry

    root = export(tmp_path / "d", annotate=changed)
    (truth,) = used(root).val_dataset()[Draw(0, 1)].truth
    expected = annotation(2)
    assert (truth["bbox"], truth["area"], truth["iscrowd"]) == (expected["bbox"], expected["area"], 0)


@pytest.mark.parametrize("value", [1, True, "1", 1.0, "true"])
def test_crowds_are_counted_and_half_of_them_are_a_problem(value: Any, tmp_path: Path) -> None:
    def brush(entry: Entry) -> Entry:
        return {**entry, "segmentation": runs(entry), "iscrowd": value} if entry["id"] % 2 else entry

    root = export(tmp_path / "d", annotate=brush)
    fact = build(root).summary()
    assert "; training leaves out 4 of 8 annotations that are crowds (iscrowd 1); evaluation ignores 2 of 4" in fact
    (problem,) = check(root).problems
    assert "CVAT and others export brush masks with iscrowd 1" in problem


@pytest.mark.parametrize("empty", [[], None, "", {}, [[]], [[1, 2, 3, 4]], "gone", [1, 2]])
def test_objects_without_a_shape_are_told_and_counted_by_their_boxes(empty: Any, tmp_path: Path) -> None:
    def bare(entry: Entry) -> Entry:
        entry = {**entry, "segmentation": empty} if entry["id"] % 2 else entry
        return {key: value for key, value in entry.items() if value != "gone"}

    root = export(tmp_path / "d", annotate=bare)
    data = build(root)
    assert "training leaves out 4 of 8 annotations that have a box and no shape" in data.summary()
    assert "evaluation counts 2 of 4 annotations that have a box and no shape by box AP" in data.summary()
    (truth,) = data.val_dataset()[Draw(0, 0)].truth
    assert (truth["bbox"], truth["segmentation"]) == (annotation(1)["bbox"], [])
    assert any("annotations without a shape that can be used: 4" in line for line in check(root).problems)


def test_boxes_alone_are_learned_where_there_are_no_shapes_and_masks_that_are_asked_for_are_refused(
    tmp_path: Path,
) -> None:
    root = export(tmp_path / "d", annotate=lambda entry: {**entry, "segmentation": []})
    data = used(root)
    assert "no training object has a shape, so boxes alone are learned and measured" in data.summary()
    assert (data.spec().masks, data.resolved()["masks"]) == (False, False)
    assert used(root, masks=False).spec().masks is False
    with pytest.raises(UserError) as caught:
        build(root, masks=True).setup()
    line = str(caught.value)
    assert "8 have a box only, and data.masks is true; give --data.masks false" in line
    assert "\n" not in line
    assert used(export(tmp_path / "shapes")).spec().masks is True


def test_boxes_alone_are_asked_for_of_data_of_which_half_have_shapes(tmp_path: Path) -> None:
    """All their objects are learned then, each by the box of the file, or else by that of its shape."""

    def bare(entry: Entry) -> Entry:
        return {**entry, "segmentation": []} if entry["id"] % 2 else {k: v for k, v in entry.items() if k != "bbox"}

    root = export(tmp_path / "d", annotate=bare)
    assert "4 of 8 annotations that have a box and no shape (--data.masks false trains" in build(root).summary()
    still = {"horizontal_flip": 0.0, "scale_range": [1.0, 1.0], "image_size": SIDE}
    data, whole = build(root, masks=False, **still), build(export(tmp_path / "whole"), masks=False, **still)
    assert "that have a box and no shape" not in data.summary()
    for index in range(len(whole.train_dataset(0))):
        one, other = (part.train_dataset(0)[Draw(0, index)] for part in (data, whole))
        assert one.masks == other.masks == []
        torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=1e-4)
        assert torch.equal(one.labels, other.labels)


def test_boxes_alone_in_a_wrong_form_are_seen_by_the_images_size(tmp_path: Path) -> None:
    def bare(form: Callable[[list[float]], list[float]]) -> Callable[[Entry], Entry]:
        return lambda entry: {**entry, "bbox": form([entry["bbox"][0] + 20, *entry["bbox"][1:]]), "segmentation": []}

    corners = export(tmp_path / "a", annotate=bare(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]))
    assert "its bboxes are likely x0, y0, x1, y1" in refused(corners)
    shares = export(tmp_path / "b", annotate=bare(lambda b: [side / SIDE for side in b]))
    assert "its bboxes are shares of the image" in refused(shares)


def test_check_goes_on_after_the_first_bad_entry_of_each_kind(tmp_path: Path) -> None:
    def spoil(values: Entry) -> None:
        values["annotations"][0].pop("image_id")
        values["annotations"][1]["category_id"] = "x"
        values["annotations"][2]["category_id"] = "y"
        values["annotations"][3]["category_id"] = 77
        values["images"][3].pop("file_name")
        values["categories"].append({"id": 2, "name": " "})

    root = export(tmp_path / "d", edit=spoil)
    found = "\n".join(check(root).problems)
    for part in (
        "annotations[0]: Object missing required field `image_id`", "annotations[1].category_id: got 'x'",
        "(2 such entries)",
        "images[3].file_name: got None", "categories[1].name: got ' '",
    ):  # fmt: skip
        assert found.count(f"{root}/train.json: {part}") or part in found, part
    refused(root)


def test_the_same_images_in_both_splits_are_told(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    (root / "val.json").write_text((root / "train.json").read_text())
    flags = {"val_images": "train"}
    assert "8 of 8 validation images are training images too" in build(root, **flags).summary()
    assert any("8 of 8 validation images are training images too" in line for line in check(root, **flags).problems)
    copied = export(tmp_path / "copied")
    (copied / "val/3.png").write_bytes((copied / "train/3.png").read_bytes())
    line = "1 of 4 validation images are training images too (1 as copies in another folder), such as "
    assert f"{line}{copied}/val/3.png" in check(copied).facts
    assert line in used(copied).summary()


OTHER_FORMS: dict[str, tuple[str, str]] = {
    "a list around it": ('[{"images": [], "annotations": [], "categories": []}]', "a list around COCO's object"),
    "results": ('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]', "results of a detector"),
    "labelme": ('{"version": "5", "shapes": [], "imagePath": "a.jpg"}', "labelme's form"),
    "VIA": ('{"_via_settings": {}, "_via_img_metadata": {}}', "VGG Image Annotator"),
    "Datumaro": ('{"info": {}, "categories": {}, "items": []}', "Datumaro's own form"),
    "Label Studio": ('[{"id": 1, "annotations": [], "data": {}}]', "Label Studio's own form"),
    "image info": ('{"images": [], "categories": []}', "without annotations"),
    "captions": ('{"images": [], "annotations": []}', "captions"),
    "lines": ('{"images": []}\n{"annotations": []}\n', "one JSON object, not several after each other"),
    "a huge number": (
        '{"images": [' + "9" * 5000 + '], "annotations": [], "categories": []}',
        "images[0]: Number out of range",
    ),
    "not an object": (
        '{"images": [3, null], "annotations": [], "categories": []}',
        "images[0]: Expected `object`, got `int`",
    ),
    "empty": ("", "not whole or not JSON"),
    "panoptic": (
        '{"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"id": 1, "name": "a"}],'
        ' "annotations": [{"image_id": 1, "segments_info": []}]}',
        "annotations[0].segments_info: Expected `null`, got `array`: it is a panoptic file",
    ),
}


@pytest.mark.parametrize(("text", "fact"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_files_of_another_form_are_named(text: str, fact: str, tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    (root / "train.json").write_text(text)
    assert fact in refused(root)


def test_a_damaged_gzip_is_one_line(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    (root / "train.json").write_bytes(gzip.compress(b'{"images": []}' * 99)[:-9])
    assert f"{root}/train.json: a damaged gzip archive" in refused(root)


def test_a_list_in_latin_1_is_one_line(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    (root / "train.json").write_bytes((root / "train.json").read_bytes().replace(b'"red"', b'"r\xf6t"'))
    assert f"{root}/train.json: categories[0]: not text in UTF-8" in refused(root)


@pytest.mark.parametrize("ident", [0, -5])
def test_ids_of_zero_and_below_are_ids(ident: int, tmp_path: Path) -> None:
    def low(values: Entry) -> None:
        values["categories"].append({"id": ident, "name": "low"})
        values["annotations"][0].update(category_id=ident, image_id=ident)
        values["images"][0].update(id=ident)

    data = used(export(tmp_path / "d", edit=low))
    assert data.category_ids == (ident, 1)
    assert data.val_dataset()[Draw(0, 0)].image_id == ident


def test_a_validation_split_without_objects_has_no_ap_and_is_refused(tmp_path: Path) -> None:
    root = export(tmp_path / "d")
    values = json.loads((root / "val.json").read_text())
    for notes in ([], [{**note, "iscrowd": 1} for note in values["annotations"]]):
        (root / "val.json").write_text(json.dumps({**values, "annotations": notes}))
        assert f"{root}/val.json: none of its {len(notes)} annotations is an object" in refused(root)


def test_shapes_outside_their_image_and_repeated_annotations_are_counted(tmp_path: Path) -> None:
    def spoil(values: Entry) -> None:
        first, second = values["annotations"][:2]
        first.update(bbox=None, segmentation=[[100, 5, 120, 5, 120, 30, 100, 30]])
        values["annotations"].append({**second, "id": 77})

    root = export(tmp_path / "d", edit=spoil)
    assert "train.json: 1 annotations repeat another one" in build(root).summary()
    assert "train.json: 1 shapes lie outside their image: training leaves them out" in build(root).summary()
    lines = check(root).problems
    assert any("shapes that lie outside their image: 1 (the first: annotation 1 of image 1)" in line for line in lines)
    wide = export(tmp_path / "w", edit=lambda values: values["annotations"][1].update(bbox=[40, 5, 30, 20]))
    assert "train.json: 1 boxes reach beyond their image: training cuts them" in build(wide).summary()


def test_pictures_of_twelve_bits_are_not_black(tmp_path: Path) -> None:
    """The white that the sample shows, or the flag's, becomes 255; it goes with the checkpoint."""
    root = export(tmp_path / "d")
    for path in root.glob("*/*.png"):
        pixels = np.linspace(0, 4000, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint16)
        pixels[0, 0] = 4095
        Image.fromarray(pixels).save(path)
    assert any("4,095" in fact or "4095" in fact for fact in check(root).facts)
    for flags in ({}, {"white": 4095.0}):
        data = used(root, image_size=SIDE, **flags)
        scaled = data.val_dataset()[Draw(0, 0)].image * torch.tensor(NUMBERS["std"]).view(3, 1, 1)
        found = (scaled + torch.tensor(NUMBERS["mean"]).view(3, 1, 1)) * 255
        assert found[0, -1, -1].item() == pytest.approx(4000 / 4095 * 255, abs=0.51)
        assert data.input_transform()["white"] == 4095
        DetEvalTransform(**data.input_transform())
    with pytest.raises(UserError, match=r"data\.white"):
        build(root, white=-1.0)


def test_an_image_that_is_listed_twice_is_told(tmp_path: Path) -> None:
    root = export(tmp_path / "d", edit=lambda values: values["images"].append({**values["images"][0], "id": 99}))
    assert any('names that stand more than once in "images": 1' in line for line in check(root).problems)
    assert "train.json: 1 images are listed again under another id" in build(root).summary()
