"""Names the channels of a data set's files, and finds the bands that were asked for among them."""

from collections.abc import Sequence

from maekit.data.images.bands.file_form import FileForm
from maekit.data.images.bands.flags import Asked
from maekit.errors import UserError, nearest
from maekit.system.numbers import plural

GREY = "grey"


def named(
    path: str, form: FileForm, asked: Asked, by_stats: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns a name for each channel of a file in its order, and what the user should know of it.

    The names are `file_bands`, else the file's own, else those of the statistics, else `bands` where these are as
    many, else B1, B2 and so on. The only channel of a file that says no more than grey is one without a name.

    Args:
        path: of the first file, for errors.
        form: of this file.
        asked: the flags' values.
        by_stats: the bands of the statistics; None without any.

    Raises:
        UserError: names were given in another number or order than the file's.
    """
    own = ("",) if form.names == (GREY,) else form.names
    given = asked.file_names
    if given is not None:
        _require_fit(path, own, given)
        return given, ()
    if all(own):
        return own, ()
    if by_stats is not None and _fits(own, by_stats):
        return by_stats, ()
    if isinstance(asked.bands, tuple) and _fits(own, asked.bands):
        order = "the files do not name their channels: taken to be in the order of data.bands"
        return asked.bands, ((order,) if form.count > 1 else ())
    if isinstance(asked.bands, tuple) and not set(asked.bands) <= {*own, *_numbered(own)}:
        raise UserError(
            f"{path}: {plural(form.count, 'channel')} without names, expected the {len(asked.bands)} of data.bands "
            f"({', '.join(asked.bands)}) among them; name all in the file's order: --data.file_bands NAME,NAME,..."
        )
    names = _numbered(own)
    return names, (
        (f"the files do not name their channels: {', '.join(names)} in their order",) if form.count > 1 else ()
    )


def wanted(names: Sequence[str], asked: Asked, path: str) -> tuple[str, ...]:
    """Returns the bands that were asked for among the names of a file's channels.

    Raises:
        UserError: one is not there, or their number is another.
    """
    if asked.bands is None:
        return tuple(names)
    if isinstance(asked.bands, int):
        if asked.bands != len(names):
            raise UserError(
                f"data.bands: got {asked.bands}, expected {len(names)} as {path} has channels ({', '.join(names)}); "
                "give that number, or names of some of them"
            )
        return tuple(names)
    for name in asked.bands:
        if name not in names:
            advice = nearest(name, names) or "; take some of these, or name the channels anew by --data.file_bands"
            raise UserError(
                f"data.bands: got '{name}', expected names of {path}'s channels: {', '.join(names)}{advice}"
            )
    return asked.bands


def _numbered(own: Sequence[str]) -> tuple[str, ...]:
    if len(own) == 1:
        return (own[0] or GREY,)
    return tuple(name or f"B{number}" for number, name in enumerate(own, start=1))


def _fits(own: Sequence[str], names: Sequence[str]) -> bool:
    """Whether names can be those of a file that says some of its names."""
    return len(own) == len(names) and all(mine in ("", name) for mine, name in zip(own, names, strict=True))


def _require_fit(path: str, own: Sequence[str], given: Sequence[str]) -> None:
    if len(own) != len(given):
        raise UserError(
            f"data.file_bands: got {len(given)} names, expected {len(own)} as {path} has channels; name all of them, "
            "in the file's order"
        )
    if set(own) == set(given) and tuple(own) != tuple(given):
        raise UserError(
            f"data.file_bands: got {', '.join(given)}, expected the order of {path}, which names its channels "
            f"{', '.join(own)}; leave the flag out"
        )
