"""The best and the worst of a run's validation images: scored, drawn and described."""

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

from maekit.base.data import RunData
from maekit.base.evaluation.image_records import within
from maekit.base.shown import Judged, Shown, evenly_spread
from maekit.base.spec import Draw
from maekit.runs.files import EVALUATION, IMAGE_SCORES, read_mapping
from maekit.system.files import write_json

FOLDER, FILE = "examples", "examples.json"
IMAGES, EACH, SECONDS = 256, 6, 60.0  # validation images at most, pictures of each kind, time for the scores at most
LARGEST = 960  # longest side of a picture in pixels
_QUALITY = 85


class Example(NamedTuple):
    """One image to show: `best` or `worst`, its rank there from 0, its place in the listing, and what is made of it."""

    kind: Literal["best", "worst"]
    rank: int
    place: int
    judged: Judged

    @property
    def file(self) -> str:
        """The name of its picture."""
        return f"{self.kind}_{self.rank}.jpg"


def judge_some(
    shown: Shown,
    data: RunData,
    *,
    first: int,
    batch_size: int,
    move: Callable[[Any], Any],
    seconds: float = SECONDS,
) -> dict[int, Judged]:
    """Scores up to 256 validation images, evenly spread, by index.

    Args:
        shown: of a model on its device, in evaluation mode.
        data: set up.
        first: only the first so many validation images are taken from.
        batch_size: images at once, at most.
        move: brings a batch to the model's device.
        seconds: after these no further batch is begun.
    """
    images, started = data.val_dataset(), time.monotonic()
    judged: dict[int, Judged] = {}
    for indices in spread(first, batch_size):
        if judged and time.monotonic() - started > seconds:
            break
        batch = move(collated(data, images, [Draw(0, index) for index in indices]))
        judged |= zip(indices, shown.judge(batch), strict=True)
    return judged


def evaluated(folder: Path, checkpoint: str, step: int, images: int) -> list[dict[str, str]]:
    """Returns the rows of `image_scores.csv`; none if it is not of this checkpoint and of the first so many images.

    Args:
        folder: the run's.
        checkpoint: the file whose weights are shown.
        step: its step.
        images: how many a validation of this run sees.
    """
    about = read_mapping(folder / EVALUATION).values
    if (about.get("checkpoint"), about.get("step")) != (checkpoint, step):
        return []
    try:
        with (folder / IMAGE_SCORES).open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
        return rows if sorted(int(row["image"]) for row in rows) == list(range(images)) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def spread(images: int, batch_size: int) -> list[list[int]]:
    """Returns up to 256 of so many places in batches, each of them spread over all: listings are sorted by class."""
    places = evenly_spread(images, IMAGES)
    batches = math.ceil(len(places) / batch_size)
    return [places[first::batches] for first in range(batches)]


def collated(data: RunData, images: Any, draws: Sequence[Draw]) -> Any:
    """Returns one batch of images, joined as a loader would."""
    whole = getattr(images, "__getitems__", None)
    return data.collate(whole(draws) if whole else [images[draw] for draw in draws])


def choose(judged: Mapping[int, Judged], best: Literal["low", "high"], each: int = EACH) -> list[Example]:
    """Returns the best images, the best first, then the worst, the worst first; no image is both.

    Args:
        judged: by index.
        best: which score is good.
        each: at most so many of each kind.
    """
    sign = 1 if best == "low" else -1
    finite = {index: one for index, one in judged.items() if math.isfinite(one.score)}
    ranked = sorted(finite, key=lambda index: (sign * finite[index].score, index))
    good = ranked[: min(each, math.ceil(len(ranked) / 2))]
    bad = ranked[len(good) :][::-1][:each]
    chosen = [Example("best", rank, index, finite[index]) for rank, index in enumerate(good)]
    return chosen + [Example("worst", rank, index, finite[index]) for rank, index in enumerate(bad)]


def write_examples(
    folder: Path,
    shown: Shown,
    data: RunData,
    judged: Mapping[int, Judged],
    weights: Mapping[str, str | int | None] | None = None,
) -> None:
    """Draws the chosen images into `examples/` of a run's folder, and lists them in `examples.json`.

    Args:
        folder: the run's.
        shown: of a model on its device, in evaluation mode; its `score` is not None.
        data: set up.
        judged: by index.
        weights: whose they are: `checkpoint` and `step`.
    """
    assert shown.score is not None
    score, best = shown.score
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    for old in place.glob("*.jpg"):
        old.unlink()
    chosen = choose(judged, best)
    for example in chosen:
        picture = shown.example_picture(data, example.place).convert("RGB")
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        picture.save(place / example.file, quality=_QUALITY)
    files = within(data.val_files(), str(data.identity().folder))
    rows = [
        {
            "file": e.file,
            "kind": e.kind,
            "index": e.place,
            "image": files[e.place] if files else "",
            **e.judged._asdict(),
        }
        for e in chosen
    ]
    whole = len(data.val_dataset())
    few = f"{len(judged):,} of the {whole:,} validation images, evenly spread"
    of = few if len(judged) < whole else f"all {whole:,} validation images"
    write_json(place / FILE, {"of": of, "score": score, "best": best, **(weights or {}), "examples": rows})
