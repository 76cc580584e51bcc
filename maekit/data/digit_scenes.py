"""Small scenes with exact label maps: scikit-learn's handwritten digits, coloured, on textured backgrounds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maekit.data.digits import DIGITS, Digit, cached, digits, make

SIDE = 128
NUM_TRAIN, NUM_VAL = 2000, 60
DIGIT_SIDES = (52, 64)
NUM_DIGITS = (2, 4)
MAX_OVERLAP = 0.08  # share of a digit's pixels that may cover those of earlier ones
PLACE_TRIES = 30
INK = (165, 255)  # each channel of a digit's colour
DARKNESS = 0.45  # factor on backgrounds: a ViT from scratch must find the digits within minutes
JPEG_QUALITY = 95
CLASS_NAMES = ("background", *DIGITS)
VERSION = 2


class SceneForm(NamedTuple):
    """How scenes are laid out on disk.

    Attributes:
        splits: names of the training and of the validation folder.
        labels: the folder beside `images`.
        stems: what stands before a file's number, in each split.
        unlabelled: 0 is unlabelled in a label file and the classes start at 1; else they start at 0.
        name: name of the folder in the cache.
    """

    splits: tuple[str, str]
    labels: str
    stems: tuple[str, str]
    unlabelled: bool
    name: str


ADE_FORM = SceneForm(("training", "validation"), "annotations", ("ADE_train_", "ADE_val_"), True, f"scenes-v{VERSION}")
OWN_FORM = SceneForm(("train", "val"), "masks", ("scene_", "scene_"), False, f"scenes-own-v{VERSION}")


def scenes_root(form: SceneForm) -> Path:
    """Returns the folder of the scenes in one form, such as `$MAEKIT_CACHE/scenes-v2`; the first call makes it."""
    return cached(form.name, lambda folder: write_scenes(folder, form))


def make_scenes(folder: Path, form: SceneForm) -> str:
    """Writes 2,000 training and 60 validation scenes of 128 x 128 pixels, 11 classes: background and ten digits.

    In ADEChallengeData2016's form they are `images/training/ADE_train_00000001.jpg` with
    `annotations/training/ADE_train_00000001.png`, where 1 is background, 2 to 11 are the digits, and nothing is
    unlabelled (0). `classes.txt` names the classes. A handwritten digit is in scenes of one split only.

    Args:
        folder: must not exist, or be empty.
        form: how the tree is laid out.

    Returns:
        One line for the user with the numbers and the folder.

    Raises:
        UserError: the folder holds something or cannot be written.
    """
    path = make(folder, lambda part: write_scenes(part, form))
    return f"wrote {NUM_TRAIN:,} training and {NUM_VAL} validation scenes of {len(CLASS_NAMES)} classes to {path}"


def write_scenes(folder: Path, form: SceneForm) -> None:
    """Fills a folder with the tree that `make_scenes` describes."""
    known = list(digits())
    for in_val, count in ((False, NUM_TRAIN), (True, NUM_VAL)):
        pool = [digit for digit in known if digit.in_val == in_val]
        images, labels = (folder / part / form.splits[in_val] for part in ("images", form.labels))
        for part in (images, labels):
            part.mkdir(parents=True)
        for number in range(count):
            image, label = draw_scene(pool, np.random.RandomState(2 * number + in_val))
            name = f"{form.stems[in_val]}{number + 1:08}"
            Image.fromarray(image).save(images / f"{name}.jpg", "JPEG", quality=JPEG_QUALITY)
            Image.fromarray(label + np.uint8(form.unlabelled)).save(labels / f"{name}.png", "PNG")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES), encoding="utf-8")


def draw_scene(pool: Sequence[Digit], rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene.

    Args:
        pool: digits to choose from.
        rng: draws everything.

    Returns:
        [128, 128, 3] uint8 RGB, the digits' edges blended; [128, 128] uint8, 0 background, 1 to 10 the digits, where a
        digit covers half a pixel or more.
    """
    image = TEXTURES[rng.randint(len(TEXTURES))](rng)
    label = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(rng.randint(NUM_DIGITS[0], NUM_DIGITS[1] + 1)):
        digit = pool[rng.randint(len(pool))]
        cover = enlarged(digit, rng.randint(DIGIT_SIDES[0], DIGIT_SIDES[1] + 1))
        window = _free_window(label, cover >= 0.5, rng)
        if window is not None:
            behind = image[window]
            colour = rng.uniform(*INK, 3)
            image[window] = behind + cover[..., None] * (colour - behind)
            label[window][cover >= 0.5] = digit.label + 1
    return np.round(image).clip(0, 255).astype(np.uint8), label


def enlarged(digit: Digit, side: int) -> np.ndarray:
    """Returns [side, side] float32: the share of each pixel that a digit covers, in 0..1."""
    large = Image.fromarray(digit.pixels).resize((side, side), Image.Resampling.BICUBIC)
    grey = np.asarray(large, dtype=np.float32) / 255
    return np.clip((grey - 0.5) * 3 + 0.5, 0, 1)  # steeper: a soft edge of two or three pixels


def _free_window(label: np.ndarray, shape: np.ndarray, rng: np.random.RandomState) -> tuple[slice, slice] | None:
    """Returns a window in which a digit [side, side] bool covers little of the others; None if no try found one."""
    side = len(shape)
    for _ in range(PLACE_TRIES):
        top, left = rng.randint(0, SIDE - side + 1, 2)
        window = slice(top, top + side), slice(left, left + side)
        if (label[window][shape] > 0).mean() <= MAX_OVERLAP:
            return window
    return None


def _noise(rng: np.random.RandomState) -> np.ndarray:
    """Returns [128, 128, 3] float64: patches of colour that blend into each other."""
    coarse = rng.randint(0, 256, (rng.randint(3, 9), rng.randint(3, 9), 3)).astype(np.uint8)
    return _calm(np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)), rng)


def _gradient(rng: np.random.RandomState) -> np.ndarray:
    return _blend(_along(rng) / SIDE + 0.5, rng)


def _stripes(rng: np.random.RandomState) -> np.ndarray:
    return _blend(np.sin(_along(rng) * (2 * np.pi / rng.uniform(6, 32))) / 2 + 0.5, rng)


TEXTURES: tuple[Callable[[np.random.RandomState], np.ndarray], ...] = (_noise, _gradient, _stripes)


def _along(rng: np.random.RandomState) -> np.ndarray:
    """Returns [128, 128]: each pixel's distance from the centre along a random direction."""
    angle = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return np.asarray(columns * np.cos(angle) + rows * np.sin(angle))


def _blend(share: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    first, second = rng.uniform(0, 255, (2, 3))
    return _calm(first + share.clip(0, 1)[..., None] * (second - first), rng)


def _calm(texture: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Reduces a texture's contrast, darkens it so that digits stand out, and adds a little noise."""
    mean = texture.mean(axis=(0, 1))
    return np.asarray(DARKNESS * (mean + 0.5 * (texture - mean)) + rng.normal(0, 4, (SIDE, SIDE, 1)))
