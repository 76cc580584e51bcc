"""What helps a rare class: handwritten digits, one of them with a fiftieth of the others' training images.

    python benchmarks/rare_class.py [--digit 8] [--seeds 0 1 2] [--folder DIR]

The recipe is `imagenet_finetune --recipe smoke`, with its images as they are, with `--model.class_weights auto` and
with `--data.sampling balanced`. Of the rare digit the seed draws which images are left; the validation images are all
of them, 40 of each digit. Printed are the rare digit's recall, balanced accuracy and top-1 of the last weights.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from maekit.data.digits import digits_root

WAYS: dict[str, list[str]] = {
    "none": [],
    "class weights": ["--model.class_weights", "auto"],
    "balanced sampling": ["--data.sampling", "balanced"],
}
RATIO = 50


def make_data(root: Path, digit: int, seed: int) -> int:
    """Writes the digits as class folders, of one a fiftieth for training; returns how many images that is."""
    shutil.copytree(digits_root(), root)
    folders = sorted(folder for folder in (root / "train").iterdir() if folder.is_dir())
    others = [len(list(folder.iterdir())) for at, folder in enumerate(folders) if at != digit]
    kept = round(statistics.mean(others) / RATIO)
    files = sorted(folders[digit].iterdir())
    random.Random(seed).shuffle(files)
    for file in files[kept:]:
        file.unlink()
    return kept


def fit(root: Path, runs: Path, way: str, seed: int, digit: int) -> tuple[float, float, float]:
    """Trains once; returns recall of the digit, balanced accuracy and top-1 of the last weights, all in percent."""
    folder = runs / f"{way.replace(' ', '_')}-{seed}"
    command = [
        sys.executable, "-m", "maekit", "fit", "--task", "imagenet_finetune", "--recipe", "smoke",
        "--data.root", str(root), "--run.folder", str(folder), "--run.seed", str(seed), "--run.num_threads", "1",
        "--model.metrics", "top1,balanced_accuracy", *WAYS[way],
        "--trainer.check_val_every_n_epoch", "1000",
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = next(folder.rglob("metrics.json"))
    val = json.loads(found.read_text())["val"]
    classes = json.loads((found.parent / "per_class.json").read_text())["classes"]
    return classes[digit]["value"], val["balanced_accuracy"], val["top1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digit", type=int, default=8, help="the rare one, 0 to 9")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        base = args.folder or Path(temporary)
        for seed in args.seeds:
            root = base / f"digits-{seed}"
            kept = make_data(root, args.digit, seed)
            for way, values in found.items():
                values.append(fit(root, base / "runs", way, seed, args.digit))
                recall, balanced, top1 = values[-1]
                line = f"recall {recall:.1f}, balanced accuracy {balanced:.1f}, top-1 {top1:.1f}"
                print(f"seed {seed}, {kept} images, {way}: {line}", flush=True)
    for way, values in found.items():
        means = [f"{statistics.mean(column):.1f}" for column in zip(*values, strict=True)]
        print(f"{way}: mean recall {means[0]}, balanced accuracy {means[1]}, top-1 {means[2]}")


if __name__ == "__main__":
    main()
