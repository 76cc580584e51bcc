"""The flags that say which bands of the files a model is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maekit.base.spec import RGB
from maekit.data.images.bands.facts import MOST, in_order
from maekit.data.images.bands.stats_file import read_stats
from maekit.errors import UserError, nearest
from maekit.system.plain import listed_names


@dataclass(kw_only=True, eq=False, repr=False)
class BandFlags:
    """Which bands of the files a model is given. A data set of images inherits them, which makes them flags.

    Args:
        bands: bands that the model is given: names such as B4,B3,B2,B8, or their number, such as 13; null: R, G and B
            of 8-bit pictures, or with `stats` all bands that it names.
        file_bands: names of all channels of a file in its order, where files do not say them; null: the files' own
            names, else those of the statistics, else `bands`.
        stats: file of `maekit data stats`, the mean and standard deviation of each band; null: stats.json in the data
            folder where bands are given that are not R, G and B of 8-bit pictures.
        shown_bands: the three that pictures show as red, green and blue, or the one in grey; null: R, G and B, else the
            first three, or the only one.
    """

    bands: list[str] | int | str | None = None
    file_bands: list[str] | str | None = None
    stats: str | None = None
    shown_bands: list[str] | str | None = None

    def asked_bands(self) -> "Asked":
        """Returns the flags' values, checked.

        Raises:
            UserError: a name stands twice, or there are none or more than 64; or neither one nor three are shown.
        """
        stats = None if self.stats is None else Path(self.stats).expanduser().absolute()
        shown = _names("shown_bands", self.shown_bands)
        if shown is not None and len(shown) not in (1, 3):
            raise UserError(f"data.shown_bands: got {len(shown)} names, expected three, or one to show in grey")
        return Asked(_names_or_count(self.bands), _names("file_bands", self.file_bands), stats, shown)


@dataclass(frozen=True)
class Asked:
    """What the flags ask for.

    Attributes:
        bands: names or their number; None where the flag is not given.
        file_names: of all channels of a file, in its order; None likewise.
        stats: file of statistics; None likewise.
        shown: bands that pictures show; None likewise.
    """

    bands: tuple[str, ...] | int | None = None
    file_names: tuple[str, ...] | None = None
    stats: Path | None = None
    shown: tuple[str, ...] | None = None

    @property
    def count(self) -> int | None:
        """The channels of a file by `file_names`, or by `bands` where it is a number; None where neither says."""
        if self.file_names is not None:
            return len(self.file_names)
        return self.bands if isinstance(self.bands, int) else None

    def __bool__(self) -> bool:
        return self != Asked()

    def require_shown(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the bands that pictures show; empty where the flag is not given.

        Args:
            names: of the bands that a model is given.

        Raises:
            UserError: another band is to be shown.
        """
        other = next((name for name in self.shown or () if name not in names), None)
        if other is not None:
            near = nearest(other, names) or "; show some of these"
            raise UserError(f"data.shown_bands: got '{other}', expected bands of the model: {', '.join(names)}{near}")
        return self.shown or ()

    def assumed(self) -> dict[str, Any]:
        """Returns the bands that a `DataSpec` has by the flags alone, where no data is at hand; empty for RGB."""
        names = self.bands if self.bands is not None else self.file_names
        if names is None and self.stats is not None:
            names = read_stats(self.stats).bands
        if isinstance(names, int):
            names = self.file_names or tuple(f"B{number}" for number in range(1, names + 1))
        return {} if names is None or set(names) == set(RGB) else {"bands": in_order(names), "mean": (), "std": ()}


def _names_or_count(value: Sequence[str] | int | str | None) -> tuple[str, ...] | int | None:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        value = int(value)
    if isinstance(value, int):
        if not 1 <= value <= MOST:
            raise UserError(f"data.bands: got {value}, expected 1 to {MOST} bands")
        return value
    return _names("bands", value)


def _names(flag: str, value: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(listed_names(value))
    if not names or not all(names) or any("," in name for name in names):
        raise UserError(f"data.{flag}: got {value!r}, expected names with commas between them, such as B4,B3,B2,B8")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise UserError(f"data.{flag}: got '{twice}' twice, expected each name once; a channel has one name")
    if len(names) > MOST:
        raise UserError(f"data.{flag}: got {len(names)} names, expected 1 to {MOST}; leave some out")
    return names
