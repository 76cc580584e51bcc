"""What a run says of its data, and which runs are of the same data: only these are compared."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maekit.runs.read import Run

NOT_RECORDED = "the run does not record its data: it is of an older version"


@dataclass(frozen=True)
class RecordedData:
    """What a run recorded of its data.

    Attributes:
        folder: where it was.
        classes: what tells its classes from others, in label order.
        images: number of images by split.
        fingerprints: hash of the listing by split; a moved folder keeps it.
        summary: the data set's own words: counts, classes, where the validation images are from.
    """

    folder: str
    classes: tuple[str, ...]
    images: Mapping[str, int]
    fingerprints: Mapping[str, str]
    summary: str

    @property
    def counts(self) -> str:
        """`80 train, 20 val images, 10 classes, fingerprint 1a2b/3c4d`."""
        images = ", ".join(f"{number:,} {split}" for split, number in self.images.items())
        classes = f", {len(self.classes):,} {'class' if len(self.classes) == 1 else 'classes'}" if self.classes else ""
        return f"{images} images{classes}, fingerprint {'/'.join(self.fingerprints.values())}"


def recorded_data(run: Run) -> RecordedData | None:
    """What a run recorded of its data; None where it did not, or the record is damaged."""
    found = run.environment.get("data")
    try:
        splits = {str(name): (int(one["images"]), str(one["fingerprint"])) for name, one in found["splits"].items()}  # type: ignore[index]
        return RecordedData(
            str(found["folder"]),  # type: ignore[index]
            tuple(str(name) for name in found["classes"]),  # type: ignore[index]
            {name: images for name, (images, _) in splits.items()},
            {name: mark for name, (_, mark) in splits.items()},
            str(found.get("summary", "")),  # type: ignore[union-attr]
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def data_key(run: Run) -> Hashable:
    """Equal for two runs of the same data, wherever its folder is.

    Runs that did not record their data are alike where their folder, made data and class names are.
    """
    found = recorded_data(run)
    if found is not None:
        return ("recorded", found.classes, tuple(sorted(found.fingerprints.items())))
    names = _class_names(run)
    return ("not recorded", *(repr(run.flat_config.get(key)) for key in ("data.root", "data.synthetic")), names)


def data_sets(runs: Sequence[Run]) -> list[int]:
    """The number of each run's data set, from 0, in the order in which they come."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(data_key(run), len(numbers)) for run in runs]


def same_data(runs: Sequence[Run]) -> bool:
    """Whether all runs are of one data set."""
    return len(set(data_sets(runs))) < 2


def data_words(run: Run) -> str:
    """A run's data in a few words: folder, counts, fingerprint."""
    found = recorded_data(run)
    if found is not None:
        return f"{found.folder} ({found.counts})"
    root = run.flat_config.get("data.root") or run.flat_config.get("data.synthetic") or "an unknown folder"
    return f"{root} ({NOT_RECORDED})"


def is_made(config: Mapping[str, Any]) -> bool:
    """Whether a configuration, by dotted keys, uses made data: a folder of one's own wins over it."""
    return config.get("data.synthetic") is not None and config.get("data.root") is None


def _class_names(run: Run) -> tuple[str, ...]:
    try:
        return tuple((run.folder / "classes.txt").read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()
