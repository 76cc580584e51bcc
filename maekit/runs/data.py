"""What a run recorded of its data, and which runs are of the same data: only these are compared."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from maekit.runs.read import Run
from maekit.system.numbers import plural
from maekit.system.plain import finite_number, table

NO_CLASSES = ["image"]  # what a pre-training records, whose data have none
NOT_RECORDED = "the run does not record its data: it is of an older version"


@dataclass(frozen=True)
class RecordedData:
    """What a run recorded of its data.

    Attributes:
        folder: where it was.
        classes: names or other marks by which its classes differ from others, in label order.
        images: number of images by split.
        fingerprints: hash of the listing by split; a moved folder keeps it.
        whole: hash of the images of all splits together, where these are folds of one list; else empty.
        summary: a sentence by the data set's class: counts, classes, where the validation images are from.
    """

    folder: str
    classes: tuple[str, ...]
    images: Mapping[str, int]
    fingerprints: Mapping[str, str]
    summary: str
    whole: str = ""

    @property
    def counts(self) -> str:
        """`80 train, 20 val images, 10 classes, fingerprint 1a2b/3c4d`."""
        images = ", ".join(f"{number:,} {split}" for split, number in self.images.items())
        classes = f", {plural(len(self.classes), 'class', 'classes')}" if self.classes else ""
        return f"{images} images{classes}, fingerprint {'/'.join(self.fingerprints.values())}"


def recorded_data(run: Run) -> RecordedData | None:
    """What a run recorded of its data; None where it did not, or the record is damaged."""
    found = table(run.environment.get("data"))
    classes = found.get("classes")
    splits = {str(name): table(split) for name, split in table(found.get("splits")).items()}
    images = {name: finite_number(split.get("images")) for name, split in splits.items()}
    fingerprints = {name: split.get("fingerprint") for name, split in splits.items()}
    whole = None not in images.values() and None not in fingerprints.values()
    if "folder" not in found or "splits" not in found or not isinstance(classes, list) or not whole:
        return None
    return RecordedData(
        folder=str(found["folder"]),
        classes=() if classes == NO_CLASSES else tuple(map(str, classes)),
        images={name: int(number) for name, number in images.items() if number is not None},
        fingerprints={name: str(fingerprint) for name, fingerprint in fingerprints.items()},
        summary=str(found.get("summary", "")),
        whole=str(found.get("whole", "")),
    )


def data_key(run: Run) -> Hashable:
    """Equal for two runs of the same data, wherever its folder is.

    Runs that did not record their data have equal keys if their folder, made data and class names are equal.
    """
    found = recorded_data(run)
    if found is not None:
        return ("recorded", found.classes, tuple(sorted(found.fingerprints.items())))
    places = (repr(run.flat_config.get(key)) for key in ("data.root", "data.synthetic"))
    return ("not recorded", *places, run.class_names or ())


def joined_key(run: Run) -> Hashable:
    """As `data_key`, but equal also for two runs on folds of the same images, divided in the same way."""
    found = recorded_data(run)
    if found is None or run.fold is None or not found.whole:
        return data_key(run)
    return ("folds", found.classes, found.whole, run.fold.parts, run.flat_config.get("data.split_seed"))


def data_sets(runs: Sequence[Run], key: Callable[[Run], Hashable] = data_key) -> list[int]:
    """The number of each run's data set, from 0, in the order in which they come.

    Args:
        runs: the runs.
        key: what tells two data sets apart: `data_key`, or `joined_key`, which counts folds as one data set.
    """
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key(run), len(numbers)) for run in runs]


def same_data(runs: Sequence[Run]) -> bool:
    """Whether all runs are of one data set."""
    return len(set(data_sets(runs))) < 2


def data_words(run: Run) -> str:
    """Folder, counts and fingerprint of a run's data, or that it did not record them."""
    found = recorded_data(run)
    if found is not None:
        fold = "" if run.fold is None else f"fold {run.fold}: "
        return f"{found.folder} ({fold}{found.counts})"
    root = run.flat_config.get("data.root") or run.flat_config.get("data.synthetic") or "an unknown folder"
    return f"{root} ({NOT_RECORDED})"


def is_made(config: Mapping[str, object]) -> bool:
    """Whether a configuration, by dotted keys, uses made data; a given folder or table takes precedence."""
    given = any(config.get(key) is not None for key in ("data.root", "data.table"))
    return config.get("data.synthetic") is not None and not given
