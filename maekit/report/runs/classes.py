"""Confusions, scores of each class, examples and pictures, from the files that a run kept of its evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NotRequired, TypedDict, TypeVar

from maekit.report.document import Block, HeatMap, Picture, Pictures, Section, Table, Text
from maekit.report.runs.precision import precision_blocks
from maekit.report.runs.suspects import suspect_table
from maekit.report.runs.targets import label_blocks, reliability_blocks, value_blocks
from maekit.runs.files import CONFUSION, CURVES, EVALUATION, PER_CLASS, read_mapping
from maekit.runs.read import Run
from maekit.system.numbers import number
from maekit.system.plain import table

_MOST_CELLS = 30  # classes of a confusion that can still be read as a picture
_MOST_PAIRS = 30
_MOST_CLASSES = 150
_T = TypeVar("_T")


class _Pair(TypedDict):
    """How many images of class number `true` were taken for class number `predicted`."""

    true: int
    predicted: int
    count: int


class _Confusion(TypedDict):
    """`confusion.json`: a whole matrix, or the most frequent pairs of many classes.

    `ordered` says whether these have an order, `unit` what is counted (images), `min_score` is that of boxes, and
    makes the last class the background.
    """

    classes: list[str]
    counts: NotRequired[list[list[int]]]
    pairs: NotRequired[list[_Pair]]
    ordered: NotRequired[bool]
    unit: NotRequired[str]
    min_score: NotRequired[float]


class _ClassScore(TypedDict):
    """A class's value in percent, None where it is in no image; `more` is a second score."""

    name: str
    value: float | None
    more: NotRequired[float | None]
    images: NotRequired[int | None]
    taken_for: NotRequired[str | None]
    taken: NotRequired[float | None]


class _PerClass(TypedDict):
    """`per_class.json`."""

    metric: str
    more: NotRequired[str | None]
    classes: list[_ClassScore]


class _Example(TypedDict):
    """A picture in the folder `examples`; `kind` is best or worst."""

    file: str
    kind: str
    score: float | None
    caption: str
    image: NotRequired[str]


class _Examples(TypedDict):
    """`examples.json`."""

    of: str
    score: str
    best: str
    examples: list[_Example]


def classes(run: Run, missing: list[str]) -> Section | None:
    """The confusion, the table of the classes or labels, and the reliability, as far as the run has them.

    Args:
        run: the run.
        missing: gets a line for each file that is damaged.
    """
    blocks = [
        *(_from_json(run.folder / "labels.json", label_blocks, missing) or _of_classes(run, missing)),
        *_from_json(run.folder / CONFUSION, _confusion, missing),
        *([suspected] if (suspected := suspect_table(run)) else []),
        *_from_json(run.folder / CURVES, precision_blocks, missing),
        *_from_json(run.folder / "reliability.json", reliability_blocks, missing),
    ]
    return Section("Classes", (Text((f"{evaluated(run)}.",)), *blocks)) if blocks else None


def _of_classes(run: Run, missing: list[str]) -> list[Block]:
    return _from_json(run.folder / PER_CLASS, _per_class, missing)


def values(run: Run, missing: list[str]) -> Section | None:
    """Errors of the predicted values, and plots of them over the true ones; arguments as for `classes`."""
    blocks = _from_json(run.folder / "values.json", value_blocks, missing)
    return Section("Values", (Text((f"{evaluated(run)}.",)), *blocks)) if blocks else None


def evaluated(run: Run) -> str:
    """The checkpoint that the scores of the classes were measured with, as `Of best.ckpt (step 33)`."""
    if run.status == "validated":
        return f"Of {checkpoint_words(run.environment.get('checkpoint')) or 'the weights that were evaluated'}"
    found = read_mapping(run.folder / EVALUATION)
    if found.problem:
        return "Of the last validation, not of best.ckpt: the run is of an older version"
    return f"Of {checkpoint_words(found.values) or 'the last validation: no best.ckpt was kept'}"


def checkpoint_words(recorded: object) -> str:
    """`best.ckpt (step 33)`, from the `checkpoint` and `step` that were recorded; empty where they were not."""
    found = table(recorded)
    return f"{found['checkpoint']} (step {found.get('step', 'unknown')})" if found.get("checkpoint") else ""


def examples(run: Run, missing: list[str]) -> Section | None:
    """The best and the worst examples, and the newest picture of fixed images."""
    blocks = _from_json(run.folder / "examples" / "examples.json", _examples, missing)
    newest = max((run.folder / "pictures").glob("step_*.png"), default=None)
    if newest is not None:
        step = newest.stem.removeprefix("step_").lstrip("0") or "0"
        blocks.append(Pictures("Fixed validation images", (Picture(newest, f"{newest.name}: after step {step}"),)))
    return Section("Examples", tuple(blocks)) if blocks else None


def _from_json(file: Path, make: Callable[[_T, Path], list[Block]], missing: list[str]) -> list[Block]:
    """The blocks that `make` builds from a JSON file; none where it is missing, and a line of `missing` if damaged."""
    if not file.is_file():
        return []
    try:
        return make(json.loads(file.read_text(encoding="utf-8")), file.parent)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        missing.append(f"{file.name} cannot be read and is left out ({type(error).__name__}: {error})")
        return []


def _confusion(found: _Confusion, _: Path) -> list[Block]:
    names = [str(name) for name in found["classes"]]
    if "counts" in found:
        counts = [[int(count) for count in row] for row in found["counts"]]
        if len(counts) != len(names) or any(len(row) != len(names) for row in counts):
            raise ValueError(f"expected {len(names)} x {len(names)} counts")
        if len(names) <= _MOST_CELLS:
            return [_confusion_map(names, counts, found)]
        pairs = [(true, predicted, count) for true, row in enumerate(counts) for predicted, count in enumerate(row)]
    else:
        pairs = [(int(pair["true"]), int(pair["predicted"]), int(pair["count"])) for pair in found["pairs"]]
    wrong = sorted((pair for pair in pairs if pair[0] != pair[1] and pair[2]), key=lambda pair: -pair[2])
    rows = tuple((names[true], names[predicted], count) for true, predicted, count in wrong[:_MOST_PAIRS])
    note = f"The {len(rows)} most frequent of {len(wrong)} that are recorded." if len(rows) < len(wrong) else ""
    columns, title = ("class", "taken for", str(found.get("unit", "images"))), "Classes most often taken for another"
    return [Table("confused", columns, rows, title, f"{note} {_background(found)}".strip())]


def _background(found: _Confusion) -> str:
    if "min_score" not in found:
        return ""
    score = number(float(found["min_score"]))
    return (
        f"Boxes from a score of {score} on, at an IoU of 0.5: in the column background are objects that were missed, "
        "in its row boxes where there is no object."
    )


def _confusion_map(names: list[str], counts: list[list[int]], found: _Confusion) -> HeatMap:
    ordered, unit = bool(found.get("ordered")), str(found.get("unit", "images"))
    total = sum(map(sum, counts))
    right = sum(counts[at][at] for at in range(len(names)))
    near = sum(count for at, row in enumerate(counts) for count in row[max(at - 1, 0) : at + 2])
    steps = f"{near:,} at most one grade off; " if ordered else ""
    return HeatMap(
        "confusion",
        "Confusion of the grades, in their order" if ordered else "Confusion",
        "predicted",
        "true",
        tuple(names),
        tuple(names),
        tuple(tuple(float(count) if count else None for count in row) for row in counts),
        log=True,
        unit=unit,
        caption=f"{right:,} of {total:,} validation {unit} on the diagonal; {steps}an empty cell is 0. "
        f"{_background(found)}".strip(),
    )


def _per_class(found: _PerClass, _: Path) -> list[Block]:
    metric, more = str(found["metric"]), found.get("more")
    every = sorted(found["classes"], key=lambda one: (one["value"] is None, one["value"] or 0.0))
    images, taken = (any(one.get(key) is not None for one in every) for key in ("images", "taken"))
    columns = (
        "class",
        f"{metric} %",
        *([f"{more} %"] if more else []),
        *(["images"] if images else []),
        *(["most often taken for", "in %"] if taken else []),
    )
    rows = tuple(
        (
            str(one["name"]),
            one["value"],
            *([one.get("more")] if more else []),
            *([one.get("images")] if images else []),
            *([one.get("taken_for"), one.get("taken")] if taken else []),
        )
        for one in every[:_MOST_CLASSES]
    )
    note = "Empty: the class is in no image, so no mean counts it." if any(row[1] is None for row in rows) else ""
    if len(rows) < len(every):
        note = f"The lowest {len(rows)} of {len(every)} classes; per_class.json has all. {note}".strip()
    return [Table("classes", columns, rows, f"{metric} of each class, the lowest first", note)]


def _example_words(one: _Example, score: str) -> str:
    """The image's file, what is made of it, and its score where that is not said already."""
    caption = str(one["caption"])
    value = "not recorded" if one["score"] is None else number(float(one["score"]))
    measured = "" if score in caption.split() else f"{score} {value}"
    return "; ".join(part for part in (one.get("image"), caption, measured) if part)


def _examples(found: _Examples, folder: Path) -> list[Block]:
    whose = checkpoint_words(found) or "the run's last step"
    line = f"What {whose} makes of {found['of']}, by {found['score']} ({found['best']} is best)."
    blocks: list[Block] = [Text((line,))]
    for kind in ("best", "worst"):
        pictures = [
            Picture(file, _example_words(one, str(found["score"])))
            for one in found["examples"]
            if one["kind"] == kind and (file := folder / Path(one["file"]).name).is_file()
        ]
        if pictures:
            blocks.append(Pictures(f"{kind.capitalize()} examples", tuple(pictures)))
    return blocks if len(blocks) > 1 else []
