"""How the label maps of anyone's data count: decided from what they hold, said, and refused where both may be meant."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.base.findings import Findings
from maekit.base.spec import Draw
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.segmentation.data import check as seg_check
from maekit.segmentation.data.ade20k import ADE20K
from maekit.segmentation.data.labels import label_maps
from maekit.segmentation.data.labels.coding import Coding, valued
from maekit.segmentation.data.labels.evidence import read_evidence
from maekit.segmentation.data.labels.read import read_label
from maekit.training.resume_changes import may_differ

SIDE, NUM = 12, {"train": 4, "val": 2}
NUMBERS = load_recipe(find_task("ade20k_upernet"), None).values["data"]
Mask = Callable[[np.ndarray, int], np.ndarray]


def data_set(
    root: Path, mask: Mask = lambda m, n: m, names: str | None = "background\nobject\n", save: Any = None
) -> Path:
    """Four training and two validation images, each with an object on a background: 0 and 1 before `mask`."""
    for part, split in ((p, s) for p in ("images", "masks") for s in NUM):
        (root / part / split).mkdir(parents=True)
    for seed, (split, number) in enumerate((s, n) for s, count in NUM.items() for n in range(count)):
        rng = np.random.default_rng(seed)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(
            root / f"images/{split}/{number}.png"
        )
        values = np.zeros((SIDE, SIDE), np.uint8)
        values[2 : 6 + number, 3:9] = 1
        (save or save_map)(root / f"masks/{split}/{number}.png", mask(values, number))
    if names is not None:
        (root / "classes.txt").write_text(names)
    return root


def save_map(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint8)).save(path)


def build(root: Path, **flags: Any) -> ADE20K:
    return ADE20K(**{**NUMBERS, "root": str(root), "crop_size": 8, "resize": [16, 8], **flags})


def check(root: Path, **flags: Any) -> Findings:
    return build(root, **flags).check()


def start(root: Path, **flags: Any) -> ADE20K:
    """What fit does before its first step."""
    data = build(root, **flags)
    data.setup()
    data.require_trainable()
    return data


def refusal(root: Path, **flags: Any) -> str:
    """The one line on which fit ends before its first step; check says it too."""
    with pytest.raises(UserError) as caught:
        start(root, **flags)
    line = str(caught.value)
    assert "\n" not in line
    assert line in check(root, **flags).problems
    return line


def labels(data: ADE20K) -> set[int]:
    return set(data.val_dataset()[Draw(0, 0)].label.flatten().tolist())


def test_classes_that_start_at_zero(tmp_path: Path) -> None:
    data = start(data_set(tmp_path))
    assert (labels(data), data.resolved()) == ({0, 1}, {"reduce_zero_label": False})
    assert "0 to 1 the classes, 255 ignored; all 4 label maps for training hold 0, 1" in data.summary()
    assert check(tmp_path).ok


def test_classes_that_start_at_one(tmp_path: Path) -> None:
    data = start(data_set(tmp_path, lambda m, n: m + 1))
    assert (labels(data), data.resolved()) == ({0, 1}, {"reduce_zero_label": True})
    assert check(tmp_path).ok


def test_a_small_share_of_zero_is_unlabelled(tmp_path: Path) -> None:
    def with_border(m: np.ndarray, n: int) -> np.ndarray:
        return np.where(np.arange(SIDE)[:, None] == 0, 0, m + 1)

    data = start(data_set(tmp_path, with_border))
    assert (labels(data), data.resolved()) == ({0, 1, 255}, {"reduce_zero_label": True})
    assert "0 is 8.3 % of the pixels" in data.summary()


@pytest.mark.parametrize("border", [0, 255])
def test_a_background_without_a_name(tmp_path: Path, border: int) -> None:
    def mask(m: np.ndarray, n: int) -> np.ndarray:
        values = np.where(m == 1, 1 + n % 2, 0) if border == 0 else np.where(m == 1, 0, 1 + n % 2)
        values[0] = border
        return values

    line = refusal(data_set(tmp_path, mask, "liver\ntumour\n"))
    assert "put its name before 'liver'" in line
    assert "add --data.reduce_zero_label true" in line
    assert start(tmp_path, reduce_zero_label=True).resolved() == {"reduce_zero_label": True}
    (tmp_path / "classes.txt").write_text("background\nliver\ntumour\n")
    assert start(tmp_path).resolved() == {"reduce_zero_label": False}


@pytest.mark.parametrize("values", [(0, 255), (0, 128, 255), (0, 7), (1, 255), (0, 1000)])
def test_values_that_are_no_class_numbers(tmp_path: Path, values: tuple[int, ...]) -> None:
    def mask(m: np.ndarray, n: int) -> np.ndarray:
        m = m.copy()
        m[-1] = len(values) - 1
        kind = np.uint16 if max(values) > 255 else np.uint8
        return np.asarray(np.array(values, kind)[m])

    names = "".join(f"class {i}\n" for i in range(len(values)))
    data_set(tmp_path, mask, names, save=lambda path, m: Image.fromarray(m).save(path))
    given = list(values)
    assert f"--data.label_values {str(given).replace(' ', '')}" in refusal(tmp_path)
    data = start(tmp_path, label_values=given)  # the advice works
    assert labels(data) == set(range(len(values)))
    assert data.resolved() == {"reduce_zero_label": False}
    assert check(tmp_path, label_values=given).ok


def test_binary_masks_among_others(tmp_path: Path) -> None:
    line = refusal(data_set(tmp_path, lambda m, n: m * (255 if n % 2 else 1)))
    assert f"2 of all 4 label maps hold 0 and 255 alone (first {tmp_path / 'masks/train/1.png'})" in line
    start(tmp_path, reduce_zero_label=False)


def test_binary_masks_for_validation_alone(tmp_path: Path) -> None:
    data_set(tmp_path)
    for path in (tmp_path / "masks/val").iterdir():
        save_map(path, np.asarray(Image.open(path)) * 255)
    line = refusal(tmp_path)
    assert line.startswith(f"all 2 label maps in {tmp_path / 'masks/val'} hold 0 and 255 alone")
    assert start(tmp_path, allow_empty=True)


def test_a_flag_that_the_label_maps_contradict(tmp_path: Path) -> None:
    line = refusal(data_set(tmp_path), reduce_zero_label=True)
    assert "no pixel of object in its 4 label maps; every class occurs with --data.reduce_zero_label false" in line
    line = refusal(data_set(tmp_path / "one", lambda m, n: m + 1), reduce_zero_label=False)
    assert "label value 2 (and in 3 more), expected 0 to 1 the classes" in line
    line = refusal(data_set(tmp_path / "binary", lambda m, n: m * 255), reduce_zero_label=False)
    assert "no pixel of object" in line and "--data.label_values [0,255]" in line


def test_an_evaluation_with_a_run_s_coding_of_other_data(tmp_path: Path) -> None:
    """`validate` takes the coding from the run; classes that start elsewhere would all be one off."""
    for other, coding in ((lambda m, n: m, True), (lambda m, n: m + 1, False)):
        data_set(tmp_path / str(coding), other)
        with pytest.raises(UserError, match=rf"--data.reduce_zero_label {not coding}".lower()):
            build(tmp_path / str(coding), reduce_zero_label=coding).setup()


def test_evidence_for_both(tmp_path: Path) -> None:
    line = refusal(data_set(tmp_path, names="background\nobject\nrare\n"))
    assert "if 0 is 'background', no pixel is rare; if 1 is, no pixel is object, rare" in line
    flags = {"allow_empty": True, "reduce_zero_label": False}
    assert "training: no pixel of rare in its 4 label maps" in start(tmp_path, **flags).summary()
    findings = check(tmp_path, **flags)
    assert findings.ok and "training: no pixel of rare in its 4 label maps" in findings.facts


def test_a_sample_that_fits_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(tmp_path, names="background\nobject\nrare\n")
    save_map(tmp_path / "masks/train/0.png", np.full((SIDE, SIDE), 2))
    monkeypatch.setattr(label_maps, "read_evidence", lambda pairs: read_evidence(pairs, most=2))
    with pytest.raises(UserError, match=r"add --data.reduce_zero_label false if 0 is 'background', or .* true if 0"):
        start(tmp_path)
    start(tmp_path, reduce_zero_label=False)  # of two maps of four it does not follow that a class never occurs


def test_a_value_above_all_classes(tmp_path: Path) -> None:
    line = refusal(data_set(tmp_path, lambda m, n: m * (9 if n % 2 else 1)))
    assert line.startswith(f"{tmp_path / 'masks/train/1.png'}: label value 9 (and in 1 more), expected 0 to 1")


def test_a_class_that_never_occurs(tmp_path: Path) -> None:
    assert "no pixel is object" in refusal(data_set(tmp_path, lambda m, n: m * 0))
    line = refusal(data_set(tmp_path / "three", lambda m, n: m * 2, "a\nb\nc\n"))
    assert "if 0 is 'a', no pixel is b" in line


def test_a_class_that_only_training_shows_is_said(tmp_path: Path) -> None:
    data_set(tmp_path)
    for path in (tmp_path / "masks/val").iterdir():
        save_map(path, np.zeros((SIDE, SIDE)))
    assert "validation: no pixel of object in its 2 label maps" in start(tmp_path).summary()
    assert check(tmp_path).ok


def test_label_maps_in_which_nothing_counts(tmp_path: Path) -> None:
    data_set(tmp_path)
    save_map(tmp_path / "masks/train/2.png", np.full((SIDE, SIDE), 255))
    assert refusal(tmp_path).startswith(f"{tmp_path / 'masks/train/2.png'}: no pixel of it counts; remove it")
    assert start(tmp_path, allow_empty=True)
    for path in (tmp_path / "masks/val").iterdir():
        save_map(path, np.full((SIDE, SIDE), 255))
    assert "validation: no pixel counts in all 2 label maps" in refusal(tmp_path, allow_empty=True)
    for path in tmp_path.glob("masks/*/*"):
        save_map(path, np.full((SIDE, SIDE), 255))
    assert "training: no pixel counts in all 4 label maps" in refusal(tmp_path)


def test_palettes_that_disagree(tmp_path: Path) -> None:
    def save(path: Path, values: np.ndarray) -> None:
        image = Image.fromarray(values.astype(np.uint8))
        image.putpalette([0, 0, 0, *((255, 0, 0) if path.stem == "1" else (0, 255, 0))])
        image.save(path)

    line = refusal(data_set(tmp_path, save=save))
    assert "index 1 has the colour (255, 0, 0)" in line


@pytest.mark.parametrize("mode", ["1", "P", "I;16"])
def test_ways_to_save_class_numbers(tmp_path: Path, mode: str) -> None:
    def save(path: Path, values: np.ndarray) -> None:
        if mode == "I;16":
            return Image.fromarray(values.astype(np.uint16)).save(path)
        image = Image.fromarray(values.astype(bool)) if mode == "1" else Image.fromarray(values.astype(np.uint8))
        if mode == "P":
            image.putpalette([0, 0, 0, 128, 0, 0])
        return image.save(path)

    data_set(tmp_path, save=save)
    with Image.open(tmp_path / "masks/train/0.png") as opened:
        assert opened.mode == mode
    assert labels(start(tmp_path)) == {0, 1}
    assert check(tmp_path).ok


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA", "F"])
def test_label_maps_with_more_than_numbers(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "F" else "png"
    data_set(tmp_path, save=lambda path, m: Image.fromarray(m).convert(mode).save(path.with_suffix(f".{suffix}")))
    assert f"a label map of mode {mode}, expected one channel" in refusal(tmp_path)
    assert all("mode" in line for line in check(tmp_path).problems)  # nothing follows for maps that are not read


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    def save(path: Path, values: np.ndarray) -> None:
        pages = [Image.fromarray(np.uint8(values == label)) for label in (0, 1)]
        pages[0].save(path.with_suffix(".tif"), save_all=True, append_images=pages[1:])

    assert "a label map of 2 pages, expected one" in refusal(data_set(tmp_path, save=save))


def test_a_resumed_run_keeps_its_coding() -> None:
    for key, then, now in (("data.reduce_zero_label", True, False), ("data.label_values", [0, 255], [255, 0])):
        with pytest.raises(UserError, match=f"got {key} .* which a resumed run cannot change"):
            may_differ({key: (then, now)}, {key})


def test_given_values_are_checked() -> None:
    for values, words in (([0], "expected 2 different"), ([5, 5], "expected 2 different"), ([0, 70_000], "65,535")):
        with pytest.raises(UserError, match=words):
            valued(values, 2, "auto")
    with pytest.raises(UserError, match="expected one of the two"):
        valued([0, 255], 2, True)


def test_other_values_than_the_given_ones(tmp_path: Path) -> None:
    save_map(tmp_path / "map.png", np.array([[0, 128, 255]]))
    np.testing.assert_array_equal(read_label(tmp_path / "map.png", Coding(3, False, (255, 0, 128))), [[1, 2, 0]])
    np.testing.assert_array_equal(read_label(tmp_path / "map.png", Coding(2, False, (128, 0))), [[1, 0, 255]])
    with pytest.raises(UserError, match="label value 128, expected 0, 255 the classes"):
        read_label(tmp_path / "map.png", Coding(2, False, (0, 255)))


def test_own_data_needs_names(tmp_path: Path) -> None:
    data_set(tmp_path, names=None)
    assert "no classes.txt in it; write one class name a line" in refusal(tmp_path)
    for given in ("sky,sea", ["sky", "sea"]):
        assert start(tmp_path, classes=given).spec().class_names == ("sky", "sea")
    (tmp_path / "names").write_text("sky\nsea\n")
    assert start(tmp_path, classes=str(tmp_path / "names")).spec().class_names == ("sky", "sea")
    for given, words in (
        ("sky", "which is no file"),
        ("sky,sky", "stands twice"),
        ("sky,", "an empty"),
        (["a"], "1 class"),
    ):
        assert words in refusal(tmp_path, classes=given)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffsky\r\nsea\r\n".encode(),
        b"sky\nsea\n\n\n",
        b"# my classes\nsky\nsea # the wet one\n# end\n",
        "sky\r\nsea\r\n".encode("utf-16"),
        b"sky\rsea",
    ],
)
def test_ways_to_write_names(tmp_path: Path, content: bytes) -> None:
    (data_set(tmp_path) / "classes.txt").write_bytes(content)
    assert start(tmp_path).spec().class_names == ("sky", "sea")


def test_one_name_alone(tmp_path: Path) -> None:
    assert "background, that is a class too: name it first" in refusal(data_set(tmp_path, names="object\n"))


def test_images_in_both_splits_are_told(tmp_path: Path) -> None:
    data_set(tmp_path)
    (tmp_path / "images/val/1.png").write_bytes((tmp_path / "images/train/3.png").read_bytes())
    findings = check(tmp_path)
    told = next(line for line in findings.facts if line.startswith("1 of 2 validation images are training images too"))
    assert f"{tmp_path / 'images/val/1.png'} is {tmp_path / 'images/train/3.png'}" in told
    assert findings.ok
    assert "1 of 2 validation images are training images too" in start(tmp_path).summary()


def test_many_maps_are_judged_in_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(tmp_path, lambda m, n: m * 255)
    alone = check(tmp_path)
    monkeypatch.setattr(seg_check, "FEW", 1)
    assert check(tmp_path) == alone
