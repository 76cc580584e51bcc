"""Images a second on one core, from JPEG file to training tensor: timm's pipeline beside maekit's, alternately.

    python benchmarks/data_loading.py            # text; --json FILE writes the numbers too
    python benchmarks/data_loading.py --large    # 4000 x 3000: data.reduced_decode beside the full decode

Both sides read the same files: crops and flips of scikit-learn's two bundled photographs. The large ones are enlarged
to 12 megapixels, and every second one gets noise as of a camera's sensor, which doubles its file. timm's side is its
own `create_transform` on an image opened by Pillow. A round takes each side over all files, in blocks of ten by
turns; the rounds' medians and the range of their ratios are printed, then maekit's stages one by one and how far its
resized pixels are from Pillow's. Times are the CPU's, of one thread: on an idle core they are the clock's.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import auto_augment
from timm.data.transforms_factory import create_transform
from torch import Tensor

from maekit.base.data import seeded
from maekit.data.augment.augment import Augmentation, Box, TrainTransform, crop_resize, random_crop_box
from maekit.data.augment.rand_augment import apply
from maekit.data.augment.reduced_crop import ReducedCrops, factor_of, jpeg_header, reduced_crop
from maekit.data.images.decode import UPRIGHT, read_image
from maekit.data.images.fast_decode import read_pixels
from maekit.data.images.transforms import BICUBIC

SIZE, MEAN, STD, RATIO = 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], (3 / 4, 4 / 3)
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "fine-tuning": {"scale": (0.08, 1.0), "policy": "rand-m9-mstd0.5-inc1", "erasing": 0.25},
    "pre-training": {"scale": (0.2, 1.0), "policy": None, "erasing": 0.0},
}
BLOCK = 10
Side = Callable[[str], Tensor]


def write_photographs(folder: Path, count: int) -> list[Path]:
    """Writes JPEGs of 500x375, quality 90, and returns their paths."""
    photographs = load_sample_images().images
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        whole = photographs[number % len(photographs)]
        width = int(rng.integers(320, 569))
        height = width * 3 // 4
        top, left = rng.integers(0, whole.shape[0] - height + 1), rng.integers(0, whole.shape[1] - width + 1)
        part = whole[top : top + height, left : left + width][:, :: rng.choice([1, -1])]
        paths.append(folder / f"{number:04}.jpg")
        Image.fromarray(np.ascontiguousarray(part)).resize((500, 375), BICUBIC).save(paths[-1], quality=90)
    return paths


def write_large_photographs(folder: Path, count: int) -> list[Path]:
    """Writes JPEGs of 4000x3000, quality 90, every second one with noise of 4 levels, and returns their paths."""
    photographs = load_sample_images().images
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        whole = photographs[number // 2 % len(photographs)]
        top, left = rng.integers(0, whole.shape[0] - 400 + 1), rng.integers(0, whole.shape[1] - 533 + 1)
        part = whole[top : top + 400, left : left + 533][:, :: rng.choice([1, -1])]
        image = Image.fromarray(np.ascontiguousarray(part)).resize((4000, 3000), BICUBIC)
        if number % 2:
            noisy = np.asarray(image).astype(np.float32) + rng.normal(0, 4, (3000, 4000, 1)).astype(np.float32)
            image = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
        paths.append(folder / f"{number:04}.jpg")
        image.save(paths[-1], quality=90)
    return paths


def timm_side(settings: dict[str, Any]) -> Side:
    """Pillow and timm's training transform."""
    transform = create_transform(
        SIZE, is_training=True, scale=settings["scale"], ratio=RATIO, hflip=0.5, color_jitter=cast(Any, None),
        auto_augment=settings["policy"], interpolation="bicubic", re_prob=settings["erasing"], re_mode="pixel",
        re_count=1, mean=tuple(MEAN), std=tuple(STD),
    )  # fmt: skip

    def load(path: str) -> Tensor:
        with Image.open(path) as image:
            tensor: Tensor = transform(image.convert("RGB"))
            return tensor

    return load


def maekit_transform(settings: dict[str, Any]) -> TrainTransform:
    """maekit's training transform of the same settings."""
    numbers = Augmentation(
        image_size=SIZE, crop_scale=settings["scale"], crop_ratio=list(RATIO), horizontal_flip=0.5,
        rand_augment=settings["policy"], random_erasing=settings["erasing"], mean=MEAN, std=STD,
    )  # fmt: skip
    return TrainTransform(numbers)


def sides(settings: dict[str, Any]) -> dict[str, Side]:
    """Each side as a function of a path; maekit's exact path is shown beside its fast one."""
    transform = maekit_transform(settings)
    return {
        "timm": timm_side(settings),
        "maekit": lambda path: transform(read_pixels(path)),
        "maekit, data.reduced_decode train": ReducedCrops(transform, UPRIGHT, fast=True),
        "maekit, data.decoder pillow": lambda path: transform(read_image(path)),
    }


def time_block(side: Side, block: list[tuple[int, Path]], epoch: int) -> float:
    """Seconds of one pass over a few files; every side seeds each sample, so all draw the same."""
    began = time.process_time()
    for index, path in block:
        with seeded(0, epoch, index):
            side(str(path))
    return time.process_time() - began


def time_round(competitors: dict[str, Side], paths: list[Path], epoch: int) -> dict[str, float]:
    """Seconds of each side over all files, the sides taking turns every few files, each block with another first."""
    names, numbered = list(competitors), list(enumerate(paths))
    seconds = dict.fromkeys(names, 0.0)
    for turn, start in enumerate(range(0, len(paths), BLOCK)):
        first = (turn + epoch) % len(names)
        for name in names[first:] + names[:first]:
            seconds[name] += time_block(competitors[name], numbered[start : start + BLOCK], epoch)
    return seconds


def compare(settings: dict[str, Any], paths: list[Path], rounds: int) -> dict[str, Any]:
    """Images a second of each side, and their ratio to timm's, as medians over the rounds after a first."""
    competitors = sides(settings)
    found = [time_round(competitors, paths, epoch) for epoch in range(rounds + 1)][1:]
    names = list(competitors)
    seconds = {name: [one[name] for one in found] for name in names}
    ratios = {n: [t / own for t, own in zip(seconds["timm"], seconds[n], strict=True)] for n in names}
    return {
        name: {
            "images_per_second": round(len(paths) / statistics.median(seconds[name]), 1),
            "over_timm": round(statistics.median(ratios[name]), 2),
            "over_timm_range": [round(min(ratios[name]), 2), round(max(ratios[name]), 2)],
        }
        for name in names
    }


def stages(settings: dict[str, Any], paths: list[Path]) -> dict[str, float]:
    """Microseconds an image of each stage of maekit's fast path, the median of 3 passes."""
    transform = maekit_transform(settings)
    pixels = [read_pixels(path) for path in paths]
    boxes = draw_boxes(settings, paths)
    crops = [crop_resize(p, box, SIZE) for p, box in zip(pixels, boxes, strict=True)]
    planes = [apply((), crop) for crop in crops]
    tensors = [transform.normalise.planes(plane) for plane in planes]
    found = {
        "read and decode": each(read_pixels, paths),
        "crop and resize": each(
            lambda pair: crop_resize(pair[0], pair[1], SIZE), list(zip(pixels, boxes, strict=True))
        ),
        "flip (half of them)": each(lambda crop: crop.flip(1), crops) / 2,
        "normalise": each(transform.normalise.planes, planes),
        "seeding": each(enter, range(len(paths))),
    }
    augment, erase = transform.augment, transform.erase
    draw = augment.draw if augment else tuple
    found["RandAugment and planes" if augment else "planes"] = each(lambda crop: apply(draw(), crop), crops)
    if erase:
        found["random erasing"] = each(erase, tensors)
    return {name: round(value, 1) for name, value in found.items()}


def enter(index: int) -> None:
    with seeded(0, 0, index):
        pass


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> float:
    """Microseconds an item."""
    given, passes = list(items), []
    for turn in range(3):
        with seeded(1, turn, 0):
            began = time.process_time()
            for item in given:
                function(item)
            passes.append((time.process_time() - began) / len(given) * 1e6)
    return statistics.median(passes)


def draw_boxes(settings: dict[str, Any], paths: list[Path]) -> list[tuple[int, int, int, int]]:
    random.seed(0)
    headers = [jpeg_header(path, UPRIGHT) for path in paths]
    return [random_crop_box(header.size, settings["scale"], RATIO) for header in headers if header]


def pixel_difference(settings: dict[str, Any], paths: list[Path], *, reduced: bool = False) -> dict[str, float]:
    """How far crops, resized, are from Pillow's of the same boxes, in levels of 255."""
    differences = []
    for path, box in zip(paths, draw_boxes(settings, paths), strict=True):
        pillow = np.asarray(read_image(path).crop(box).resize((SIZE, SIZE), BICUBIC)).astype(np.int16)
        own = reduced_pixels(path, box) if reduced else crop_resize(read_pixels(path), box, SIZE).numpy()
        differences.append(np.abs(own - pillow))
    means = [float(d.mean()) for d in differences]
    return {
        "mean": round(statistics.mean(means), 3),
        "mean_of_worst_crop": round(max(means), 3),
        "largest": float(max(d.max() for d in differences)),
    }


def reduced_pixels(path: Path, box: Box) -> np.ndarray:
    """The crop [SIZE, SIZE, 3] of a JPEG that is decoded no larger than the crop needs."""
    header, factor = jpeg_header(path, UPRIGHT), factor_of(box, SIZE)
    if header is None or factor == 1:
        return crop_resize(read_pixels(path), box, SIZE).numpy()
    return np.asarray(reduced_crop(path, UPRIGHT, header, box, SIZE, factor))


@contextmanager
def mended_posterize() -> Any:
    """timm's posterize raises from Pillow 13 on where magnitude 10 leaves no bits; here it gives black, as before."""
    own: Any = auto_augment.NAME_TO_OP["PosterizeIncreasing"]
    auto_augment.NAME_TO_OP["PosterizeIncreasing"] = lambda image, bits, **options: (
        own(image, bits, **options) if bits else Image.new(image.mode, image.size)
    )
    yield
    auto_augment.NAME_TO_OP["PosterizeIncreasing"] = own


def measure(images: int, rounds: int, large: bool) -> dict[str, Any]:
    """Everything the benchmark finds."""
    with TemporaryDirectory() as folder, mended_posterize():
        paths = (write_large_photographs if large else write_photographs)(Path(folder), images)
        kib = statistics.mean(path.stat().st_size for path in paths) / 1024
        found: dict[str, Any] = {
            "files": f"{images} JPEGs of {'4000x3000' if large else '500x375'}, {kib:.0f} KiB on average",
            "versions": {module.__name__: module.__version__ for module in (torch, torchvision, timm, PIL)},
            "machine": platform.processor() or platform.machine(),
            "rounds": rounds,
        }
        for name, settings in AUGMENTATIONS.items():
            found[name] = {
                "rates": compare(settings, paths, rounds),
                "microseconds_an_image": stages(settings, paths),
                "levels_from_pillow": pixel_difference(settings, paths),
                "levels_from_pillow_reduced": pixel_difference(settings, paths, reduced=True),
            }
    return found


def show(found: dict[str, Any]) -> None:
    """Prints the result as text."""
    print(f"{found['files']}; {found['rounds']} rounds; {found['versions']}")
    for name in AUGMENTATIONS:
        print(f"\n{name}")
        for side, rate in found[name]["rates"].items():
            low, high = rate["over_timm_range"]
            speed = f"{rate['images_per_second']:8.1f} images/s"
            print(f"  {side:28} {speed}, {rate['over_timm']:.2f} ({low}-{high}) times timm's")
        print("  us an image: " + ", ".join(f"{k} {v:.0f}" for k, v in found[name]["microseconds_an_image"].items()))
        print(f"  levels of 255 from Pillow's resize: {found[name]['levels_from_pillow']}")
        print(f"  the same, decoded at a reduced size: {found[name]['levels_from_pillow_reduced']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", action="store_true", help="files of 4000x3000; try --images 16 --rounds 5")
    parser.add_argument("--json", type=Path, help="also write the result as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(args.images, args.rounds, args.large)
    show(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
