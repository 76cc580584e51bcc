"""Accuracy with JPEGs decoded at a reduced size: handwritten digits stored as 4000 x 3000 pixels.

    python benchmarks/large_digits.py [--train 30] [--val 10] [--epochs 12] [--seeds 0 1 2] [--folder DIR]

The recipe is `imagenet_finetune --recipe smoke`, once for each value of data.reduced_decode and each seed; only how
files are decoded differs. The weights trained with `never` are evaluated with `always` too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import maekit
from maekit.data.digits import digits_root

MODES = ("never", "train", "always")


def make_data(root: Path, counts: dict[str, int]) -> None:
    """Writes so many images of each class, 4000 x 3000, quality 90."""
    for split, count in counts.items():
        for source in sorted((digits_root() / split).iterdir()):
            folder = root / split / source.name
            folder.mkdir(parents=True)
            for file in sorted(source.iterdir())[:count]:
                with Image.open(file) as image:
                    large = image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
                large.save(folder / f"{file.stem}.jpg", quality=90)


def fit(root: Path, runs: Path, mode: str, seed: int, epochs: int) -> tuple[float, float, Path]:
    """Trains once; returns the last top-1, the seconds, and the run's folder."""
    folder = runs / f"{mode}-{seed}"
    began = time.monotonic()
    command = [
        sys.executable, "-m", "maekit", "fit", "--task", "imagenet_finetune", "--recipe", "smoke",
        "--data.root", str(root), "--data.reduced_decode", mode, "--run.folder", str(folder), "--run.seed", str(seed),
        "--trainer.max_epochs", str(epochs), "--trainer.check_val_every_n_epoch", str(epochs),
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = next(folder.rglob("metrics.json"))
    return json.loads(found.read_text())["val"]["top1"], time.monotonic() - began, found.parent


def evaluated(root: Path, folder: Path, mode: str) -> float:
    """Returns the top-1 of a run's last weights, its images decoded in some way."""
    overrides = {"data.root": str(root), "data.reduced_decode": mode}
    session = maekit.build("imagenet_finetune", recipe="smoke", overrides=overrides)
    return float(session.validate(folder / "last.ckpt")["top1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=30, help="training images of each class")
    parser.add_argument("--val", type=int, default=10, help="validation images of each class")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = args.folder or Path(temporary)
        root = base / "digits"
        if not root.exists():
            make_data(root, {"train": args.train, "val": args.val})
        for seed in args.seeds:
            for mode in MODES:
                top1, seconds, folder = fit(root, base / "runs", mode, seed, args.epochs)
                print(f"seed {seed}, {mode:6}: top-1 {top1:.2f} in {seconds:.0f} s", flush=True)
                if mode == "never":
                    print(f"seed {seed}, the same weights, evaluated reduced: {evaluated(root, folder, 'always'):.2f}")


if __name__ == "__main__":
    main()
