"""Small scenes with exact instance masks in COCO's form: scikit-learn's digits in colours on textures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maekit.data.digit_scenes import INK, JPEG_QUALITY, SIDE, TEXTURES, enlarged
from maekit.data.digits import DIGITS, Digit, cached, digits, make
from maekit.detection.data.annotation import Annotation, Segmentation
from maekit.detection.data.coco.outlines import filled, outlines
from maekit.detection.data.coco.rle import counts_of_bitmap, text_of_bitmap

NUM_TRAIN, NUM_VAL = 400, 60
DIGIT_SIDES = (36, 60)
NUM_DIGITS = (2, 4)
MAX_HIDDEN = 0.1  # share of an earlier digit that later ones may cover
PLACE_TRIES = 30
CROWD_SIDES, NUM_CROWD, CROWD_REACH = (26, 34), 4, 14
CROWD_EVERY, EMPTY_EVERY, RUNS_EVERY = 6, 20, 5  # validation scenes with a crowd, without objects; RLE shapes
CATEGORY_IDS = (1, 2, 3, 5, 6, 8, 9, 10, 13, 14)  # of zero to nine; with gaps, as COCO's own have them
VERSION = 1


class Thing(NamedTuple):
    """One object of a scene: its label 0..9, its visible pixels [128, 128] bool, and whether it is a crowd."""

    label: int
    visible: np.ndarray
    crowd: bool


def object_scenes_root() -> Path:
    """Returns the folder of the scenes, which the first call makes (`$MAEKIT_CACHE/coco-scenes-v1`)."""
    return cached(f"coco-scenes-v{VERSION}", write_object_scenes)


def make_object_scenes(folder: Path) -> str:
    """Writes 400 training and 60 validation scenes of 128 x 128 pixels with digits of 36 to 60 pixels, in COCO's form.

    `train2017`, `val2017` and `annotations/instances_{train,val}2017.json`. Ten categories, their ids with gaps. A
    scene has two to four digits; a later one may cover a tenth of an earlier one. Annotated is the visible part with
    its holes filled. Every fifth object has run lengths, compressed or not, the others polygons; every sixth
    validation scene has a crowd of one digit, every twentieth has nothing. A handwritten digit is in scenes of one
    split only.

    Args:
        folder: must not exist, or be empty.

    Returns:
        One line that says what was made.

    Raises:
        UserError: the folder holds something or cannot be written.
    """
    path = make(folder, write_object_scenes)
    return f"wrote {NUM_TRAIN} training and {NUM_VAL} validation scenes of {len(DIGITS)} classes to {path}"


def write_object_scenes(folder: Path) -> None:
    """Writes the files that `make_object_scenes` describes."""
    known = list(digits())
    (folder / "annotations").mkdir(parents=True)
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VAL)):
        in_val = split == "val"
        pool = [digit for digit in known if digit.in_val == in_val]
        content = _header()
        (folder / f"{split}2017").mkdir()
        for number in range(count):
            crowded, empty = (in_val and number % every == every - 1 for every in (CROWD_EVERY, EMPTY_EVERY))
            rng = np.random.RandomState(2 * number + in_val)
            image, things = draw_objects([] if empty else pool, rng, crowded=crowded and not empty)
            name, ident = f"{7 * number + 9:012}.jpg", 7 * number + 9  # as COCO's ids: none follows the one before
            Image.fromarray(image).save(folder / f"{split}2017" / name, "JPEG", quality=JPEG_QUALITY)
            content["images"].append({"id": ident, "file_name": name, "height": SIDE, "width": SIDE, "license": 1})
            for thing in things:
                content["annotations"].append(annotation(thing, len(content["annotations"]) + 1, ident))
        text = json.dumps(content, separators=(",", ":"))
        (folder / "annotations" / f"instances_{split}2017.json").write_text(text, encoding="utf-8")


def _header() -> dict[str, Any]:
    categories = [
        {"supercategory": "digit", "id": ident, "name": name} for ident, name in zip(CATEGORY_IDS, DIGITS, strict=True)
    ]
    info = {"description": "scikit-learn's handwritten digits on textures", "version": f"{VERSION}.0"}
    licenses = [{"id": 1, "name": "BSD 3-Clause"}]
    return {"info": info, "licenses": licenses, "images": [], "annotations": [], "categories": categories}


def draw_objects(pool: Sequence[Digit], rng: np.random.RandomState, *, crowded: bool) -> tuple[np.ndarray, list[Thing]]:
    """Draws one scene.

    Args:
        pool: digits to choose from; none for an empty scene.
        rng: decides everything.
        crowded: a crowd of one digit, a few on top of each other, is drawn before the others.

    Returns:
        [128, 128, 3] uint8 RGB, the digits' edges blended; the objects, in the order they were drawn.
    """
    image = TEXTURES[rng.randint(len(TEXTURES))](rng)
    owner = np.full((SIDE, SIDE), -1)
    labels = []
    if crowded:
        labels.append(_draw_crowd(image, owner, pool, rng))
    for _ in range(rng.randint(NUM_DIGITS[0], NUM_DIGITS[1] + 1) if pool else 0):
        digit = pool[rng.randint(len(pool))]
        cover = enlarged(digit, rng.randint(DIGIT_SIDES[0], DIGIT_SIDES[1] + 1))
        shape = filled(cover >= 0.5)
        window = _free_window(owner, shape, rng)
        if window is not None:
            _paint(image, owner, window, cover, shape, len(labels), rng)
            labels.append(digit.label)
    things = [Thing(label, owner == at, crowded and at == 0) for at, label in enumerate(labels)]
    return np.round(image).clip(0, 255).astype(np.uint8), [thing for thing in things if thing.visible.any()]


Window = tuple[slice, slice]


def _draw_crowd(image: np.ndarray, owner: np.ndarray, pool: Sequence[Digit], rng: np.random.RandomState) -> int:
    """Draws a few digits of one class near each other, all as object 0, and returns the class."""
    label = int(rng.randint(len(DIGITS)))
    same = [digit for digit in pool if digit.label == label]
    centre = rng.randint(CROWD_REACH, SIDE - CROWD_SIDES[1] - CROWD_REACH, 2)
    for _ in range(NUM_CROWD):
        cover = enlarged(same[rng.randint(len(same))], rng.randint(CROWD_SIDES[0], CROWD_SIDES[1] + 1))
        top, left = centre + rng.randint(-CROWD_REACH, CROWD_REACH + 1, 2)
        window = slice(top, top + len(cover)), slice(left, left + len(cover))
        _paint(image, owner, window, cover, filled(cover >= 0.5), 0, rng)
    return label


def _paint(
    image: np.ndarray,
    owner: np.ndarray,
    window: Window,
    cover: np.ndarray,
    shape: np.ndarray,
    at: int,
    rng: np.random.RandomState,
) -> None:
    colour = rng.uniform(*INK, 3)
    image[window] += cover[..., None] * (colour - image[window])
    owner[window][shape] = at


def _free_window(owner: np.ndarray, shape: np.ndarray, rng: np.random.RandomState) -> Window | None:
    """Returns a window in which a digit [side, side] bool covers little of the others; None if no try found one."""
    side = len(shape)
    sizes = np.bincount(owner.ravel() + 1, minlength=2)[1:]
    for _ in range(PLACE_TRIES):
        top, left = rng.randint(0, SIDE - side + 1, 2)
        window = slice(top, top + side), slice(left, left + side)
        hidden = np.bincount(owner[window][shape] + 1, minlength=len(sizes) + 1)[1:]
        if (hidden <= MAX_HIDDEN * sizes).all():
            return window
    return None


def annotation(thing: Thing, ident: int, image_id: int) -> Annotation:
    """Returns an object as COCO writes it: crowds as plain run lengths, some objects compressed, most as polygons."""
    visible = thing.visible
    rows, columns = (np.flatnonzero(visible.any(axis=axis)) for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    shape: Segmentation
    whole = filled(visible).sum() == visible.sum()  # polygons cannot show a hole
    if not thing.crowd and ident % RUNS_EVERY and whole:
        shape = outlines(visible)
    elif thing.crowd or ident % 2:
        shape = {"size": [SIDE, SIDE], "counts": counts_of_bitmap(visible)}
    else:
        shape = {"size": [SIDE, SIDE], "counts": text_of_bitmap(visible)}
    return {
        "segmentation": shape,
        "area": float(visible.sum()),
        "iscrowd": int(thing.crowd),
        "image_id": image_id,
        "bbox": [float(side) for side in (x, y, columns[-1] + 1 - x, rows[-1] + 1 - y)],
        "category_id": CATEGORY_IDS[thing.label],
        "id": ident,
    }
