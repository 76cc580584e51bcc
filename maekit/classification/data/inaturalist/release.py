"""What the iNaturalist competitions released each year, how a folder shows which one it holds, and its two splits."""

from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from maekit.classification.data.check import Released
from maekit.classification.data.inaturalist.annotations import Annotations, read_annotations
from maekit.classification.data.list_check import MAX_NAMED, Lists
from maekit.data.folders.layout import nearby_root, require_folder, still_packed
from maekit.data.folders.listing import sub_folders
from maekit.errors import UserError

Year = Literal[2017, 2018, 2019, 2021]
# github.com/visipedia/inat_comp, README.md of each year; 2019's 268,243 images are split as its JSON files do.
RELEASED: dict[int, Released] = {
    2017: Released("iNaturalist 2017", 5_089, 579_184, 95_986),
    2018: Released("iNaturalist 2018", 8_142, 437_513, 24_426),
    2019: Released("iNaturalist 2019", 1_010, 265_213, 3_030),
    2021: Released("iNaturalist 2021", 10_000, 2_686_843, 100_000),
}
MINI = "train_mini.json"  # 2021's smaller training set: 50 images a class
MINI_RELEASED = Released("iNaturalist 2021 mini", 10_000, 500_000, 100_000)
FOLDERS = {2017: "train_val_images", 2018: "train_val2018", 2019: "train_val2019"}
EXPECTED = (
    "train<year>.json and val<year>.json (2017, 2018 or 2019; train.json and val.json of 2021) beside the folder of "
    "images that they name"
)


def years_in(root: Path) -> list[int]:
    """Returns the years whose annotation files, one of the two at least, are in a folder."""
    return [year for year in get_args(Year) if any(path.is_file() for path in _files(root, year))]


def find_year(root: Path, wanted: int | None) -> int:
    """Returns the year whose annotation files are in a folder.

    Args:
        root: the data folder.
        wanted: the year; None to take the only one in the folder.

    Raises:
        UserError: there are no files of that year, or files of several years and `wanted` is None.
    """
    require_folder(root)
    years = years_in(root)
    if wanted in years or (wanted is None and len(years) == 1):
        return wanted or years[0]
    if years:
        found = " and ".join(map(str, years))
        if wanted is None:
            raise UserError(f"{root}: annotation files of {found}; say which with --data.year {years[-1]}")
        missing = _files(root, wanted)[0].name
        raise UserError(f"{root}: no {missing}, but those of {found}; use --data.year {years[-1]}, or add it")
    packed = still_packed(root, "train20*.json.*", "val20*.json.*", "train_val20*", "train_val_images*")
    if packed:
        raise UserError(f"{root}: no annotation files, and {packed} is still packed; unpack it here")
    right = nearby_root(root, years_in)
    hint = f"use --data.root {right}" if right else f"expected {EXPECTED}"
    raise UserError(f"{root}: no annotation files of iNaturalist in it; {hint}")


def read_lists(root: Path, year: int) -> Lists:
    """Reads the two annotation files of a year.

    Raises:
        UserError: one is missing, faulty, of another year or of other categories than the other, or the folder of
            images that they name is not there.
    """
    for path, other in zip(_files(root, year), reversed(_files(root, year)), strict=True):
        if not path.is_file():
            packed = still_packed(root, f"{path.name}.*", f"train_val{year}.zip")
            advice = f"unpack {packed}" if packed else "download it"
            raise UserError(f"{path}: no such file beside {other.name}; {advice}")
    train, val = (read_annotations(path) for path in _files(root, year))
    for part in (train, val):
        _require_year(part, year)
    _require_same(train, val)
    for part in (train, val):
        _require_images(part, root)
    ids = tuple(f"inaturalist{year}/{ident}" for ident in train.categories)
    names = tuple(train.categories.values())
    released = MINI_RELEASED if train.path.name == MINI else RELEASED[year]
    return Lists(train.listing(ids), val.listing(ids), names, train.path, val.path, released)


def gaps(lists: Lists) -> list[str]:
    """Returns a line if the category ids have gaps: labels have none, so a label is not its category id then."""
    ids = [int(ident.rpartition("/")[2]) for ident in lists.train.classes]
    known, start = set(ids), min(0, ids[0])
    missing = ids[-1] + 1 - start - len(ids)
    if not missing:
        return []
    some = list(islice((ident for ident in range(start, ids[-1]) if ident not in known), MAX_NAMED))
    which = ", ".join(map(str, some)) + (", ..." if missing > len(some) else "")
    return [f"category ids: {missing:,} of {start} to {ids[-1]} are missing ({which}); labels count the others from 0"]


def _files(root: Path, year: int) -> tuple[Path, Path]:
    if year != 2021:
        return root / f"train{year}.json", root / f"val{year}.json"
    whole, mini = root / "train.json", root / MINI
    return mini if mini.is_file() and not whole.is_file() else whole, root / "val.json"


def _require_year(part: Annotations, year: int) -> None:
    for other, released in RELEASED.items():
        if other != year and len(part.categories) == released.num_classes:
            found = f"it lists {released.num_classes:,} categories, as {released.title} has"
            raise UserError(f"{part.path}: {found}, not {RELEASED[year].num_classes:,}; use the file of {year}")
        if other != year and FOLDERS.get(other) in part.folders:
            found = f"its images lie in {FOLDERS[other]}/, the folder of {released.title}"
            raise UserError(f"{part.path}: {found}; use the file of {year}, or name it as that year's")


def _require_same(train: Annotations, val: Annotations) -> None:
    """Refuses splits of different categories; names that one of the files withholds are ignored."""
    for ident in sorted(train.categories.keys() ^ val.categories.keys()):
        here, there = (train, val) if ident in train.categories else (val, train)
        counts = f"{len(here.categories):,} categories against {len(there.categories):,}"
        raise UserError(
            f"{there.path}: it lacks category {ident} of {here.path.name} ({counts}); use both files of one year"
        )
    for ident, name in train.categories.items():
        other = val.categories[ident]
        if name != other and not name[-1:].isdecimal() and not other[-1:].isdecimal():
            raise UserError(
                f"{val.path}: category {ident} is '{other}', in {train.path.name} '{name}'; use both files of one year"
            )


def _require_images(part: Annotations, root: Path) -> None:
    for folder in sorted(part.folders):
        if (root / folder).is_dir():
            continue
        packed = still_packed(root, f"{folder}.*")
        inside = {name.split("/")[1] for name in part.names if name.startswith(f"{folder}/")}
        here = sorted(inside & set(sub_folders(root)))
        if packed:
            advice = f"{packed} is still packed; unpack it here"
        elif here:
            advice = f"its '{here[0]}' lies in {root} itself; move the images into a folder {folder}"
        else:
            advice = f"unpack the images there, or link their folder: ln -s IMAGES {root / folder}"
        raise UserError(f"{part.path}: its images lie in {folder}/, and {root} has no such folder; {advice}")
