"""What a run kept of its best validation: classes that were mistaken, scores of each class, examples, pictures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maekit.report.document import Block, HeatMap, Picture, Pictures, Section, Table, Text
from maekit.system.numbers import number
from maekit.runs.read import Run

_MOST_CELLS = 30  # classes of a confusion that can still be read as a picture
_MOST_PAIRS = 30
_MOST_CLASSES = 150
_Maker = Callable[[Any, Path], list[Block]]


def classes(run: Run, missing: list[str]) -> Section | None:
    """The confusion and the table of the classes, as far as the run has them.

    Args:
        run: the run.
        missing: gets a line for each file that is damaged.
    """
    blocks = [
        *_from_json(run.folder / "confusion.json", _confusion, missing),
        *_from_json(run.folder / "per_class.json", _per_class, missing),
    ]
    return Section("Classes", (Text((f"{evaluated(run)}.",)), *blocks)) if blocks else None


def evaluated(run: Run) -> str:
    """Whose weights the classes are of."""
    if run.status == "validated":
        return f"Of {checkpoint_words(run.environment.get('checkpoint')) or 'the weights that were evaluated'}"
    try:
        found = json.loads((run.folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "Of the last validation, not of best.ckpt: the run is of an older version"
    return f"Of {checkpoint_words(found) or 'the last validation: no best.ckpt was kept'}"


def checkpoint_words(found: Any) -> str:
    """`best.ckpt (step 33)`, of what was recorded of a checkpoint; empty where nothing was."""
    if not isinstance(found, dict) or not found.get("checkpoint"):
        return ""
    return f"{found['checkpoint']} (step {found.get('step', 'unknown')})"


def examples(run: Run, missing: list[str]) -> Section | None:
    """The best and the worst examples, and the newest picture of fixed images."""
    blocks = _from_json(run.folder / "examples" / "examples.json", _examples, missing)
    newest = max((run.folder / "pictures").glob("step_*.png"), default=None)
    if newest is not None:
        step = newest.stem.removeprefix("step_").lstrip("0") or "0"
        blocks.append(Pictures("Fixed validation images", (Picture(newest, f"{newest.name}: after step {step}"),)))
    return Section("Examples", tuple(blocks)) if blocks else None


def _from_json(file: Path, make: _Maker, missing: list[str]) -> list[Block]:
    """What a file shows; a damaged one is a line of `missing`, and one that is not there nothing."""
    if not file.is_file():
        return []
    try:
        return make(json.loads(file.read_text(encoding="utf-8")), file.parent)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        missing.append(f"{file.name} cannot be read and is left out ({type(error).__name__}: {error})")
        return []


def _confusion(found: Any, _: Path) -> list[Block]:
    names = [str(name) for name in found["classes"]]
    if "counts" in found:
        counts = [[int(count) for count in row] for row in found["counts"]]
        if len(counts) != len(names) or any(len(row) != len(names) for row in counts):
            raise ValueError(f"expected {len(names)} x {len(names)} counts")
        if len(names) <= _MOST_CELLS:
            return [_confusion_map(names, counts)]
        pairs = [(true, said, count) for true, row in enumerate(counts) for said, count in enumerate(row)]
    else:
        pairs = [(int(pair["true"]), int(pair["predicted"]), int(pair["count"])) for pair in found["pairs"]]
    wrong = sorted((pair for pair in pairs if pair[0] != pair[1] and pair[2]), key=lambda pair: -pair[2])
    rows = tuple((names[true], names[said], count) for true, said, count in wrong[:_MOST_PAIRS])
    note = f"The {len(rows)} most frequent of {len(wrong)} that are recorded." if len(rows) < len(wrong) else ""
    return [Table("confused", ("class", "taken for", "images"), rows, "Classes most often taken for another", note)]


def _confusion_map(names: list[str], counts: list[list[int]]) -> HeatMap:
    total = sum(map(sum, counts))
    right = sum(counts[at][at] for at in range(len(names)))
    return HeatMap(
        "confusion",
        "Confusion",
        "predicted",
        "true",
        tuple(names),
        tuple(names),
        tuple(tuple(float(count) if count else None for count in row) for row in counts),
        log=True,
        unit="images",
        caption=f"{right:,} of {total:,} validation images on the diagonal; an empty cell is 0.",
    )


def _per_class(found: Any, _: Path) -> list[Block]:
    metric, more = str(found["metric"]), found.get("more")
    columns = ["class", f"{metric} %", *([f"{more} %"] if more else []), "images"]
    every = sorted(found["classes"], key=lambda one: (one["value"] is None, one["value"]))
    rows = tuple(
        (str(one["name"]), one["value"], *([one.get("more")] if more else []), one.get("images"))
        for one in every[:_MOST_CLASSES]
    )
    note = "Empty: the class is in no image, so no mean counts it." if any(row[1] is None for row in rows) else ""
    if len(rows) < len(every):
        note = f"The lowest {len(rows)} of {len(every)} classes; per_class.json has all. {note}".strip()
    return [Table("classes", tuple(columns), rows, f"{metric} of each class, the lowest first", note)]


def _examples(found: Any, folder: Path) -> list[Block]:
    whose = checkpoint_words(found) or "the run's last step"
    line = f"What {whose} makes of {found['of']}, by {found['score']} ({found['best']} is best)."
    blocks: list[Block] = [Text((line,))]
    for kind in ("best", "worst"):
        pictures = [
            Picture(file, f"{one['caption']}; {found['score']} {_score(one['score'])}".removeprefix("; "))
            for one in found["examples"]
            if one["kind"] == kind and (file := folder / Path(one["file"]).name).is_file()
        ]
        if pictures:
            blocks.append(Pictures(f"{kind.capitalize()} examples", tuple(pictures)))
    return blocks if len(blocks) > 1 else []


def _score(value: Any) -> str:
    return "not recorded" if value is None else number(float(value))
