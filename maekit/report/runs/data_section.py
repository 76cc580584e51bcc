"""The section on a run's data: where they lie, how many images, how often each class is there, and some of them."""

from collections.abc import Iterator

from maekit.report.document import Block, Facts, Picture, Pictures, Section, Table, Text, Value
from maekit.runs.data import NOT_RECORDED, RecordedData, recorded_data
from maekit.runs.files import SAMPLES
from maekit.runs.read import Run
from maekit.system.numbers import number, plural
from maekit.system.plain import JSON, finite_number, table

_MOST_NAMED, _MOST_ROWS = 20, 60
_SPLITS = {"train": "training", "val": "validation"}


def data(run: Run) -> Section:
    """Folder, counts, sizes and split in words, the balance of the classes, and a sheet of training images."""
    found = recorded_data(run)
    if found is None:
        root = run.flat_config.get("data.root") or run.flat_config.get("data.synthetic")
        return Section("Data", (Text((f"{root or 'Unknown'}: {NOT_RECORDED}.",)),))
    blocks: list[Block] = [Facts(tuple(pair for pair in _facts(run, found) if pair[1]))]
    if balance := _balance(run):
        blocks.append(balance)
    sheet = run.folder / SAMPLES
    if sheet.is_file():
        mixed = any((finite_number(run.flat_config.get(f"model.{name}")) or 0) > 0 for name in ("mixup", "cutmix"))
        later = ", before mixup and cutmix mix them in pairs" if mixed else ""
        caption = f"As the first epoch has them, cropped and augmented{later}."
        blocks.append(Pictures("Training images", (Picture(sheet, caption),)))
    return Section("Data", tuple(blocks))


def _facts(run: Run, found: RecordedData) -> Iterator[tuple[str, str]]:
    named = run.class_names if run.class_names and len(run.class_names) == len(found.classes) else found.classes
    classes = f"{len(named):,}: {', '.join(named[:_MOST_NAMED])}" if named else ""
    yield "folder", found.folder
    yield "fold", "" if run.fold is None else f"{run.fold}: report the runs on all folds together for their mean"
    for split, count in found.images.items():
        yield f"{_SPLITS.get(split, split)} images", f"{count:,}"
    yield "classes", classes + (", ..." if len(named) > _MOST_NAMED else "")
    yield "image size", _sizes(run)
    yield "in words", found.summary
    yield "in both splits", _shared(run)
    for split, mark in found.fingerprints.items():
        yield f"{_SPLITS.get(split, split)} fingerprint", mark


def _sizes(run: Run) -> str:
    """`640 x 480 pixels (width x height) in the middle, from 320 x 240 to 4,000 x 3,000; 100 training images`."""
    found = table(run.data_facts.get("sizes"))
    median, smallest, largest = (_size(found.get(key)) for key in ("median", "smallest", "largest"))
    read = finite_number(found.get("read"))
    if not median or read is None:
        return ""
    same = smallest == largest == median
    spread = "" if same else f" in the middle, from {smallest} to {largest}"
    images = plural(int(read), "training image")
    return f"{median} pixels (width x height){spread}; of {images} that {'was' if read == 1 else 'were'} looked at"


def _shared(run: Run) -> str:
    """`3 of 230 validation files compared with 400 training files, byte for byte`; empty where that was not done."""
    found = table(run.data_facts.get("in_both_splits"))
    count, compared = finite_number(found.get("count")), counts_of(found.get("compared"))
    if count is None or len(compared) != 2:
        return ""
    words = "none" if not count else f"{int(count):,}"
    return f"{words} of {compared[1]:,} validation files, compared with {compared[0]:,} training files byte for byte"


def _size(sides: object) -> str:
    known = [finite_number(side) for side in sides] if isinstance(sides, list) else []
    return " x ".join(f"{int(side):,}" for side in known if side is not None) if len(known) == 2 else ""


def _balance(run: Run) -> Table | None:
    """How often each class is in both splits, the rarest in training first."""
    found = table(run.data_facts.get("balance"))
    names, unit = run.data_facts.get("classes"), str(found.get("unit", "images"))
    train, val = (counts_of(found.get(split)) for split in ("train", "val"))
    if not isinstance(names, list) or not names or not len(names) == len(train) == len(val):
        return None
    rows = sorted(zip(map(str, names), train, val, strict=True), key=lambda row: row[1])
    note = f"{_spread(train, unit)} {found.get('part', '')}".strip()
    if len(rows) > _MOST_ROWS:
        note = f"The {_MOST_ROWS} rarest of {len(rows)} classes; data.json has all. {note}".strip()
    columns: tuple[str, ...] = ("class", f"training {unit}", f"validation {unit}")
    shown: tuple[tuple[Value, ...], ...] = tuple(rows[:_MOST_ROWS])
    if unit != "label maps":  # of which each has several classes, so that shares would say nothing
        columns = ("class", f"training {unit}", "training %", f"validation {unit}", "validation %")
        shown = tuple((name, a, _share(a, train), b, _share(b, val)) for name, a, b in rows[:_MOST_ROWS])
    return Table("balance", columns, shown, "Balance of the classes, the rarest first", note)


def _spread(train: list[int], unit: str) -> str:
    """How far the classes are from balanced, in words."""
    least, most = min(train), max(train)
    if least == most:
        return f"Each class has {least:,} training {unit}."
    times = f", {number(round(most / least, 1))} times as many" if least else ""
    return f"From {least:,} to {most:,} training {unit}{times}."


def _share(count: int, counts: list[int]) -> float | None:
    """In percent of what is counted."""
    total = sum(counts)
    return 100 * count / total if total else None


def counts_of(values: JSON) -> list[int]:
    """Returns the whole numbers of a list of `data.json`; those that are none are left out."""
    known = [finite_number(value) for value in values] if isinstance(values, list) else []
    return [int(value) for value in known if value is not None]
