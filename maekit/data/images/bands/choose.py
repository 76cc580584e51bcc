"""Decides which bands of a data set's files a model is given: from flags, a sample of the files and statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maekit.base.spec import RGB
from maekit.data.images.bands.facts import Bands, in_order
from maekit.data.images.bands.file_form import FileForm
from maekit.data.images.bands.flags import Asked
from maekit.data.images.bands.naming import named, wanted
from maekit.data.images.bands.read import look
from maekit.data.images.bands.reading import BandReading, require_alike
from maekit.data.images.bands.stats_file import NAME, Stats, read_stats
from maekit.data.images.decode import read_image
from maekit.data.images.survey import spaced_paths
from maekit.errors import UserError, nearest
from maekit.system.numbers import plural

Parts = Sequence[tuple[int, Callable[[int], str]]]


@dataclass(frozen=True)
class Chosen:
    """How files of any channels are read.

    Attributes:
        reading: reads the bands; None where files are read as 8-bit RGB.
        notes: parts of a sentence for the user.
    """

    reading: BandReading | None = None
    notes: tuple[str, ...] = ()


def choose_bands(parts: Parts, asked: Asked, folder: Path, *, upright: bool = True) -> Chosen:
    """Decides which bands a model is given, and checks a sample of up to 200 files of each split.

    Args:
        parts: for each split the number of files and a function from index to path.
        asked: the flags' values.
        folder: where stats.json is looked for.
        upright: turn pictures by their EXIF orientation.

    Raises:
        UserError: the files, the flags and the statistics do not fit together; or a file has NaN or an infinity.
    """
    if not asked:
        _require_pictures(parts)
        return Chosen()
    paths = spaced_paths(parts)
    forms = [look(path, asked.count) for path in paths]
    if _are_rgb(forms, asked):
        _require_as_they_are(asked)
        return Chosen()
    stats, source = _statistics(asked, folder)
    first = forms[0]
    names, note = named(paths[0], first, asked, None if stats is None else stats.bands)
    for path, form in zip(paths, forms, strict=True):
        require_alike(path, form, names, first.dtype)
    chosen = in_order(name for name in names if name in wanted(names, asked, paths[0]))
    if stats is None:
        raise UserError(
            f"bands {', '.join(chosen)} of {first.dtype} have no statistics, expected their mean and std in "
            f"{folder / NAME} or --data.stats FILE; make them: {stats_command(folder, asked)}"
        )
    _require_fit(stats, source, names, first.dtype)
    if first.nodata is None:
        _require_values(stats, source, chosen)
    bands = replace(_bands(chosen, names, stats, source), shown=asked.require_shown(chosen))
    reading = BandReading(bands, upright)
    if first.dtype == "float32":
        for path in paths:
            reading(path)
    return Chosen(reading, (_line(reading.bands, first, source), *note))


def _require_pictures(parts: Parts) -> None:
    """Refuses arrays without a word on their bands, by the names of the first files."""
    for path in (path_of(0) for count, path_of in parts if count):
        if path.lower().endswith(".npy"):
            read_image(path)


def stats_command(folder: Path, asked: Asked) -> str:
    """Returns the command that makes the statistics."""
    names = "" if asked.file_names is None else f" --data.file_bands {','.join(asked.file_names)}"
    return f"maekit data stats --root {folder}{names}"


def _are_rgb(forms: Sequence[FileForm], asked: Asked) -> bool:
    """Whether these are 8-bit pictures of which R, G and B are asked for, which are read as such data always are."""
    if asked.file_names is not None or asked.stats is not None or not all(form.plain for form in forms):
        return False
    if asked.bands is None:
        return True
    coloured = any(form.names[:3] == RGB for form in forms)  # a few grey ones among them are no matter
    return coloured and isinstance(asked.bands, tuple) and set(asked.bands) == set(RGB)


def _require_as_they_are(asked: Asked) -> None:
    """Refuses to show other bands of 8-bit RGB pictures than these."""
    if asked.require_shown(RGB) not in ((), RGB):
        raise UserError(
            f"data.shown_bands: got {', '.join(asked.shown or ())}, expected R,G,B: 8-bit RGB pictures are shown as "
            "they are; leave it out"
        )


def _statistics(asked: Asked, folder: Path) -> tuple[Stats | None, Path]:
    source = asked.stats or folder / NAME
    if asked.stats is None and not source.is_file():
        return None, source
    return read_stats(source), source


def _require_fit(stats: Stats, source: Path, names: tuple[str, ...], dtype: str) -> None:
    """Refuses statistics of other channels, of the same in another order, or of other numbers than the files'."""
    again = "make them again with `maekit data stats --root DIR`"
    if len(stats.bands) != len(names):
        raise UserError(
            f"{source}: statistics of {plural(len(stats.bands), 'band')} ({', '.join(stats.bands)}), expected "
            f"{len(names)} as the files have ({', '.join(names)}); {again}"
        )
    other = next((name for name in names if name not in stats.bands), None)
    if other is not None:
        hint = nearest(other, stats.bands) or f"; {again}"
        raise UserError(f"{source}: no statistics of band {other}, which the files have{hint}")
    if stats.bands != names:
        raise UserError(
            f"{source}: statistics in the order {', '.join(stats.bands)}, expected that of the files, "
            f"{', '.join(names)}; {again}"
        )
    if stats.dtype != dtype:
        raise UserError(f"{source}: statistics of {stats.dtype}, expected {dtype} as the files have; {again}")


def _require_values(stats: Stats, source: Path, chosen: tuple[str, ...]) -> None:
    """Refuses bands that have NaN in a training image, where the files have no mark for pixels without a value."""
    for name, missing in zip(stats.bands, stats.missing, strict=True):
        if missing and name in chosen:
            raise UserError(
                f"{source}: band {name} has {plural(missing, 'pixel')} without a value (NaN) in the training images, "
                "expected none; `maekit data stats` names the first file; fill them and make the statistics again"
            )


def _bands(chosen: tuple[str, ...], names: tuple[str, ...], stats: Stats, source: Path) -> Bands:
    places = [names.index(name) for name in chosen]
    constant = [name for name, place in zip(chosen, places, strict=True) if not stats.std[place]]
    if constant:
        raise UserError(
            f"{source}: band {constant[0]} has the same value in all training images (std 0), expected one that "
            "varies; leave it out of --data.bands"
        )
    mean, std = (tuple(numbers[place] for place in places) for numbers in (stats.mean, stats.std))
    return Bands(chosen, names, stats.dtype, mean, std, stats.unit)


def _line(bands: Bands, form: FileForm, source: Path) -> str:
    of = "" if len(bands.names) == len(bands.file_names) else f" of {len(bands.file_names)} channels"
    filled = "" if form.nodata is None else f"; pixels of {form.nodata:g}, the files' mark of no value, are the mean"
    return f"{plural(len(bands.names), 'band')}{of}, {', '.join(bands.names)}, of {bands.dtype}, by {source}{filled}"
