"""What a run knows of the bands of its images, and a checkpoint keeps. No torch here."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from maekit.base.identity import Split, fingerprint
from maekit.base.spec import RGB

MOST = 64
DTYPES = ("uint8", "uint16", "int16", "float32")


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns bands in the order that a model is given them: R, G and B first, then the others as they come."""
    names = tuple(names)
    return (*(name for name in RGB if name in names), *(name for name in names if name not in RGB))


@dataclass(frozen=True)
class Bands:
    """The bands of a data set.

    Attributes:
        names: of the C bands that a model is given, in the order of `in_order`.
        file_names: of all channels of a file, in its order.
        dtype: of the files' numbers: uint8, uint16, int16 or float32.
        mean: of each of `names`, in the unit of the file.
        std: of each of `names`, likewise, above 0.
        unit: the file's number that counts as 1, as 255 does in 8 bits: `DataSpec.mean` is `mean / unit`.
        shown: the three of `names`, or the one in grey, that pictures show; empty: R, G, B, else the first three.
    """

    names: tuple[str, ...]
    file_names: tuple[str, ...]
    dtype: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unit: float
    shown: tuple[str, ...] = ()

    def for_spec(self) -> dict[str, Any]:
        """Returns what a `DataSpec` has of them: `bands`, and `mean` and `std` in 0..1."""
        mean, std = (tuple(each / self.unit for each in numbers) for numbers in (self.mean, self.std))
        return {"bands": self.names, "mean": mean, "std": std}

    def marked(self, splits: Mapping[str, Split]) -> dict[str, Split]:
        """Returns the identities of splits that are read as these bands: other bands or statistics are other data."""
        own = json.dumps(self.plain() | {"shown_bands": []}).encode()
        prints = {name: fingerprint(split.fingerprint.encode(), own) for name, split in splits.items()}
        return {name: Split(split.images, prints[name]) for name, split in splits.items()}

    def plain(self) -> dict[str, Any]:
        """Returns plain values for a checkpoint's input transform, which `bands_of` reads."""
        return {
            "bands": list(self.names),
            "file_bands": list(self.file_names),
            "dtype": self.dtype,
            "mean": list(self.mean),
            "std": list(self.std),
            "unit": self.unit,
            **({"shown_bands": list(self.shown)} if self.shown else {}),
        }


def bands_of(input: Mapping[str, Any]) -> Bands | None:
    """Returns the bands in a checkpoint's input transform; None where it has no `bands`: files are read as RGB."""
    if not input.get("bands"):
        return None
    names, file_names, mean, std = (tuple(input[name]) for name in ("bands", "file_bands", "mean", "std"))
    shown = tuple(input.get("shown_bands", ()))
    return Bands(names, file_names, input["dtype"], mean, std, float(input["unit"]), shown)
