"""Segments a TIFF of 20,000 x 20,000 pixels: peak memory, time, and whether a part of it has the labels of its crop.

The image is made of the toy's scenes. The network is untrained: its labels are no less sensitive to logits, and most of
the time is that of reading, sums and writing. Each measurement is a process of its own: memory is never given back.

    python benchmarks/large_image.py --folder DIR
    python benchmarks/large_image.py --folder DIR --classes 150 --height 4096
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from maekit.base.predict_options import PredictOptions
from maekit.base.spec import DataSpec
from maekit.base.tile_options import TileOptions
from maekit.data.digit_scenes import ADE_FORM, scenes_root
from maekit.data.images.decode import Reading
from maekit.data.images.transforms import Normalise
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.system.light_imports import is_own_program
from maekit.system.size import HeightWidth
from maekit.tiles.open import open_tiled
from maekit.tiles.region import Region

TILE, WINDOW, STRIDE, CROP = 512, 512, 448, 2048
COLOURS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
INPUT: dict[str, Any] = {"resize": [2048, 512], "min_side": WINDOW, **COLOURS}


def make_image(path: Path, size: HeightWidth) -> None:
    """Writes a tiled, deflated TIFF of scenes side by side."""
    files = sorted(scenes_root(ADE_FORM).rglob("images/*/*.jpg"))[:400]
    scenes = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    draw = np.random.default_rng(0)

    def tiles() -> Iterator[NDArray[np.uint8]]:
        for _ in range(-(-size.height // TILE) * -(-size.width // TILE)):
            rows = [np.concatenate([scenes[int(draw.integers(len(scenes)))] for _ in range(4)], 1) for _ in range(4)]
            yield np.concatenate(rows, 0)

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            tiles(),
            shape=(*size, 3),
            dtype=np.uint8,
            tile=(TILE, TILE),
            photometric="rgb",
            compression="zlib",
            compressionargs={"level": 1},
            metadata=None,
        )


def network(classes: int) -> Any:
    """Returns an untrained linear segmenter of windows of 512 pixels."""
    stacked = load_recipe(find_task("ade20k_linear"), "smoke")
    module = stacked.task.load()
    flags = ["backbone=vit_test_patch32", "weights=none", f"window_stride={STRIDE}", "window_batch=1"]
    values = resolve(stacked, module, [f"--model.{flag}" for flag in flags], training=False).values["model"]
    torch.manual_seed(0)
    model = module.Model.build(DataSpec(tuple(map(str, range(classes))), (WINDOW, WINDOW)), values)
    with torch.no_grad():  # classifiers begin near zero: larger ones give labels that differ from place to place
        for parameter in model.head.parameters():
            parameter.normal_()
    return model.eval()


def segment(path: Path, folder: Path, classes: int, tile: int | None) -> dict[str, float]:
    """Segments the image as `maekit predict` does, and returns its seconds and its peak memory in GB."""
    is_own_program()  # as in the command: torchmetrics without the parts that maekit never uses, 290 MB
    model = network(classes)
    shown = model.shown()
    tiled, writer = shown.tiled_predictor(INPUT, TileOptions(tile)), shown.prediction_writer(folder, PredictOptions())
    before, start = _peak(), time.perf_counter()
    with open_tiled(path, Reading()) as image, tiled.predict(image, folder, torch.device("cpu")) as (picture, labels):
        middle, labelled = time.perf_counter(), _peak()
        writer.write(path, picture, labels)
    writer.close()
    end = time.perf_counter()
    memory = {"GB before": before, "GB labelled": labelled, "GB written": _peak()}
    return memory | {"labelling s": middle - start, "writing s": end - middle}


def compare(path: Path, labels_file: Path, classes: int) -> dict[str, float]:
    """Compares the labels with those of a crop that begins at a window's start.

    Compared are the pixels that no window beyond the crop's edges and no window that was shifted back into it covers.
    """
    side, inner = CROP, slice(WINDOW - STRIDE, CROP - WINDOW)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first.aspage()
        top, left = ((length - CROP) // 2 // STRIDE * STRIDE for length in (page.imagelength, page.imagewidth))
    place = Region(top, left, top + side, left + side)
    with open_tiled(path, Reading()) as image:
        pixels = np.asarray(image.read(place))
    planes = Normalise(COLOURS["mean"], COLOURS["std"]).planes(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    expected = network(classes).labels(planes, HeightWidth(side, side)).numpy()
    with tifffile.TiffFile(labels_file) as file:
        found = file.asarray()[place.rows, place.columns]
    same = found[inner, inner] == expected[inner, inner]
    return {"pixels compared": same.size, "labels that differ": int((~same).sum()), "labels": len(np.unique(expected))}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _in_child(args: argparse.Namespace, what: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--folder", str(args.folder), "--classes", str(args.classes), "--part", what]
    command += ["--side", str(args.side)]
    command += [
        *(["--height", str(args.height)] if args.height else []),
        *(["--tile", str(args.tile)] if args.tile else []),
    ]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="image and results; 2 GB")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--height", type=int, help="rows, where less than --side: memory does not depend on them")
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--tile", type=int, help="as of maekit predict")
    parser.add_argument("--part", choices=("segment", "compare"), help="one measurement, as JSON")
    args = parser.parse_args()
    height = args.height or args.side
    if height < CROP or args.side < CROP:
        parser.error(f"got {args.side} x {height} pixels, expected {CROP} or more on each side: a crop is compared")
    image, results = args.folder / f"scenes_{args.side}x{height}.tif", args.folder / "results"
    if args.part == "segment":
        print(json.dumps(segment(image, results, args.classes, args.tile)))
    elif args.part == "compare":
        print(json.dumps(compare(image, results / f"{image.stem}_labels.tif", args.classes)))
    else:
        args.folder.mkdir(parents=True, exist_ok=True)
        if not image.exists():
            make_image(image, HeightWidth(height, args.side))
        print(f"{args.side:,} x {height:,} pixels, {image.stat().st_size / 1e6:,.0f} MB")
        for part in ("segment", "compare"):
            print(", ".join(f"{name} {value:,.2f}" for name, value in _in_child(args, part).items()), flush=True)


if __name__ == "__main__":
    main()
