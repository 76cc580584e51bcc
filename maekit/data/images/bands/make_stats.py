"""Makes the statistics of a data set's training images, from the flags and the files alone."""

from collections.abc import Sequence

from maekit.data.images.bands.flags import Asked
from maekit.data.images.bands.naming import named
from maekit.data.images.bands.read import look
from maekit.data.images.bands.stats import measure
from maekit.data.images.bands.stats_file import Stats
from maekit.system.numbers import number, plural

MARKS, FLOAT_MARK = (-99, -999, -9999, -99999, -32768), -1e30  # of no value, in whole numbers and in floats
MAX_NAMED = 5


def make_stats(paths: Sequence[str], asked: Asked, workers: int = 1) -> tuple[Stats, tuple[str, ...]]:
    """Returns the statistics of all channels of some files, and what the user should know of names and files.

    Args:
        paths: of the files; one or more.
        asked: the flags; `bands` counts only where it names all channels of a file.
        workers: processes that read.

    Raises:
        UserError: a file cannot be used, or differs from the first one in its channels or numbers.
    """
    form = look(paths[0], _count(asked))
    if isinstance(asked.bands, tuple) and len(asked.bands) != form.count:
        asked = Asked(None, asked.file_names)
    names, note = named(paths[0], form, asked, None)
    stats, lacking = measure(paths, names, form.dtype, workers)
    lines = (
        [f"{plural(len(lacking), 'file')} with pixels without a value, which are left out; the first: {lacking[0]}"]
        if lacking
        else []
    )
    return stats, (*note, *lines, *_mark_notes(stats))


def _mark_notes(stats: Stats) -> list[str]:
    """Returns a line where a band's smallest number often marks pixels without a value, and no file says so."""
    marked = [name for name, low in zip(stats.bands, stats.min, strict=True) if low in MARKS or low < FLOAT_MARK]
    if not marked:
        return []
    low = number(stats.min[stats.bands.index(marked[0])])
    which = ", ".join(marked[:MAX_NAMED]) + (", ..." if marked[MAX_NAMED:] else "")
    return [
        f"the smallest number of {which} is {low}, which often marks pixels without a value, and is measured as one: "
        "write it into the files as GDAL's nodata, if it is a mark"
    ]


def table_lines(stats: Stats) -> list[str]:
    """Returns a line of column names, and one for each band."""
    rows = [("band", "mean", "std", "min", "max", "without a value")]
    for row in zip(stats.bands, stats.mean, stats.std, stats.min, stats.max, stats.missing, strict=True):
        rows.append((row[0], *(number(value) for value in row[1:5]), f"{row[5]:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"  {row[0]:<{widths[0]}}  " + "  ".join(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def summary_line(stats: Stats) -> str:
    """Returns in words what was measured."""
    pixels = max(stats.pixels)
    return (
        f"{plural(len(stats.bands), 'band')} of {stats.dtype} over {plural(stats.images, 'image')}, "
        f"up to {pixels:,} pixels a band"
    )


def _count(asked: Asked) -> int | None:
    names = asked.file_names or asked.bands
    return names if isinstance(names, int) else None if names is None else len(names)
