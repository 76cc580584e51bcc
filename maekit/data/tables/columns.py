"""Which columns of a table say what: those that were named, else those with a usual name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.errors import UserError, nearest
from maekit.system.plain import listed_names

# In lower case without blanks, underscores and hyphens.
USUAL = {
    "path": (
        *("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "imageid", "img"),
        *("imgpath", "imgname", "fname", "relativepath"),
    ),
    "label": ("label", "labels", "class", "classname", "classlabel", "target", "category", "diagnosis", "species", "y"),
    "mask": (
        *("mask", "masks", "maskpath", "maskfile", "maskname", "maskid", "label", "labelpath", "labelmap", "labelfile"),
        *("annotation", "annotationpath", "segmentation", "segmentationpath", "target", "gt", "groundtruth"),
    ),
    "split": ("split", "set", "subset", "partition", "dataset"),
}
UNREAD = ("isvalid", "isval", "valid", "istrain", "istest", "fold", "kfold", "cvfold")  # of fastai and Kaggle
GROUPS = ("patient", "patientid", "subject", "subjectid", "group", "groupid", "site", "plot", "scene", "case", "caseid")
NEEDED = {"path": True, "label": True, "mask": True, "split": False}


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Attributes:
        path: has the path of each image.
        labels: have its class, its labels or its values, one column or several, or the path of its label map; empty
            where the labels are not in the table.
        split: says which split it is in; None where the table has no such column.
        group: images of one value stay on one side of a split; None for none.
        weight: how much an image counts; None for none.
        note: which columns were chosen by their names, for the user; empty if none was.
    """

    path: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None
    weight: str | None
    note: str = ""

    def names(self) -> list[str]:
        """Returns the columns that are read, each once."""
        found = (self.path, *self.labels, self.split, self.group, self.weight)
        return list(dict.fromkeys(name for name in found if name is not None))


def choose_columns(
    table: Path,
    names: Sequence[str],
    given: dict[str, str | None],
    *,
    several: bool = False,
    usual: Sequence[str] = (),
) -> Columns:
    """Chooses the columns of a table.

    Args:
        table: for errors.
        names: of its columns.
        given: of `path`, `label` or `mask` where there is one, `split`, `group` and `weight` the name that a flag
            gives, or None.
        several: whether `label` may be several names with commas between.
        usual: more names that the label's column usually has, in lower case.

    Raises:
        UserError: a column that was named is not there; of path, label or mask there is no column of a usual name; or
            there are several.
    """
    labels = _label_names(given.get("label"), names, several)
    wanted = [(kind, name) for kind, name in given.items() if kind != "label"]
    for kind, name in (*wanted, *(("label", name) for name in labels)):
        if name is not None and name not in names:
            raise UserError(
                f"{table}: no column '{name}'{nearest(name, names)} (it has {_listed(names)}); mend "
                f"--data.{kind}_column"
            )
    known = {kind: words for kind, words in USUAL.items() if kind in given}
    if "label" in known:
        known["label"] = (*known["label"], *usual)
    found = {kind: given[kind] or _usual(table, names, kind, known[kind]) for kind in known}
    chosen = [f"{kind} from '{name}'" for kind, name in found.items() if name is not None and given[kind] is None]
    chosen += _unused_group(names, given["group"])
    if found["split"] is None:
        ask = "it takes a column of words such as train and val (--data.split_column)"
        chosen += [f"'{name}' is not used for a split: {ask}" for name in names if _plain(name) in UNREAD][:1]
    path, label = found["path"], found.get("label") or found.get("mask")
    assert path is not None
    labels = labels or ([] if label is None else [label])
    return Columns(path, tuple(labels), found["split"], given["group"], given["weight"], ", ".join(chosen))


def _label_names(given: str | None, names: Sequence[str], several: bool) -> list[str]:
    if given is None:
        return []
    parts = [name for name in listed_names(given) if name]
    return parts if several and given not in names else [given]


def _usual(table: Path, names: Sequence[str], kind: str, known: Sequence[str]) -> str | None:
    fits = [name for name in names if _plain(name) in known]
    if len(fits) > 1:
        raise UserError(
            f"{table}: columns {_listed(fits)} may each be the {kind}; say which: --data.{kind}_column {fits[0]}"
        )
    if not fits and NEEDED[kind]:
        hint = nearest(kind, [_plain(name) for name in names])
        raise UserError(
            f"{table}: no column of the {kind}s among {_listed(names)}{hint}; say which it is: "
            f"--data.{kind}_column NAME"
        )
    return fits[0] if fits else None


def _unused_group(names: Sequence[str], given: str | None) -> list[str]:
    """A note on a column that looks as if its images belonged together, and is not used for that."""
    looks = [name for name in names if _plain(name) in GROUPS] if given is None else []
    return [f"'{looks[0]}' is not used: --data.group_column {looks[0]} keeps its images on one side"] if looks else []


def _plain(name: str) -> str:
    return "".join(name.split()).casefold().replace("_", "").replace("-", "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:8]) + (", ..." if names[8:] else "")
