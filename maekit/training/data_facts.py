"""What a run records of its data: `data.json`, and `samples.png` with training images as the model is given them."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image, UnidentifiedImageError

from maekit.base.data import RunData
from maekit.base.evaluation.image_records import within
from maekit.base.shown import evenly_spread
from maekit.data.folders.duplicates import sample, twins
from maekit.runs.files import DATA, SAMPLES
from maekit.system.files import atomic_write, write_json
from maekit.system.generators import untouched_generators
from maekit.system.terminal import say
from maekit.training.run_module import RunModule, run_module

MOST_SIZES, SECONDS = 100, 1.0  # training images whose size is read, and the time for it at most
MOST_LISTED, MOST_COMPARED = 200_000, 2_000  # training images; files of each split that are compared
LARGEST = 1600  # longest side of the sheet in pixels


def write_data_facts(folder: Path, module: RunModule, seed: int) -> None:
    """Writes both files into a run's folder.

    Args:
        folder: the run's.
        module: with model and data.
        seed: the run's, by which training images are augmented.
    """
    write_json(folder / DATA, facts(module.data, module.model.spec.class_names))
    sheet = module.model.shown().training_picture(module.data, seed)
    if sheet is not None:
        sheet.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        with atomic_write(folder / SAMPLES) as file:
            sheet.save(file, "PNG", optimize=False)


def facts(data: RunData, names: Sequence[str]) -> dict[str, Any]:
    """Returns plain values: folder, summary, images by split, counts of the classes, sizes, files in both splits.

    Args:
        data: set up.
        names: of the classes, in label order.
    """
    identity, balance = data.identity(), data.balance()
    found: dict[str, Any] = {
        "folder": str(identity.folder),
        "summary": data.summary(),
        "images": {name: split.images for name, split in identity.splits.items()},
        "classes": list(names),
    }
    if balance is not None:
        found["balance"] = balance._asdict()
    if sizes := image_sizes(data):
        found["sizes"] = sizes
    if shared := shared_files(data):
        found["in_both_splits"] = shared
    return found


def shared_files(data: RunData) -> dict[str, Any]:
    """Returns how many validation files have the bytes of a training file; empty for data that are too many to list.

    `compared` is the number of training and of validation files that were looked at, `count` how many validation files
    have a twin, `first` a training file and the validation file that is the same.
    """
    images = data.train_dataset(0)
    if len(images) > MOST_LISTED:
        return {}
    train = {images.path_of(index) for index in range(len(images))}
    here, there = sample(sorted(train), data.val_files(), MOST_COMPARED)
    if not here or not there:
        return {}
    pairs = twins(here, there)
    first = within(list(pairs[0]), str(data.identity().folder)) if pairs else []
    return {"compared": [len(here), len(there)], "count": len(pairs), "first": first}


def image_sizes(data: RunData) -> dict[str, Any]:
    """Returns what the headers of up to 100 training images say, evenly spread over the listing; empty without any.

    `median`, `smallest` and `largest` (by area) are width and height in pixels.
    """
    images, started, sizes = data.train_dataset(0), time.monotonic(), []
    for index in evenly_spread(len(images), MOST_SIZES):
        if time.monotonic() - started > SECONDS:
            break
        try:
            with Image.open(images.path_of(index)) as image:
                sizes.append(image.size)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue  # of a kind that Pillow does not read, such as an array
    if not sizes:
        return {}
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    median = [int(statistics.median(side)) for side in zip(*sizes, strict=True)]
    return {"read": len(sizes), "median": median, "smallest": list(by_area[0]), "largest": list(by_area[-1])}


class DataFacts(Callback):
    """Writes `data.json` and `samples.png` after a session's first step, so that it waits for neither.

    The first process does it alone; generators are as they were, so the run is the same with it and without. Where it
    fails, a line says why and the run goes on.

    Args:
        folder: the run's folder.
        seed: the run's.
        leave_out: called afterwards, so that the time is not counted as training.
    """

    def __init__(self, folder: Path, seed: int, leave_out: Callable[[], None]) -> None:
        self.folder, self.seed, self.leave_out, self.done = folder, seed, leave_out, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Writes them once."""
        if self.done or not trainer.is_global_zero:
            return
        self.done = True
        try:
            with untouched_generators():
                write_data_facts(self.folder, run_module(pl_module), self.seed)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            say(f"no sheet of training images: {reason}; the run goes on")
        self.leave_out()
