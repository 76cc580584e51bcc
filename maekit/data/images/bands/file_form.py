"""What the header of an image file says of its channels."""

from collections.abc import Sequence
from dataclasses import dataclass

from maekit.data.images.bands.facts import DTYPES, MOST
from maekit.system.numbers import plural

NUMBERS = {"float16": "float32", "float64": "float32", "bool": "uint8"}


class UnfitError(ValueError):
    """A fault that a user can mend in a file that is not damaged. The text says how, so no advice is added."""


@dataclass(frozen=True)
class FileForm:
    """The form of one file.

    Attributes:
        height: pixels, as stored.
        width: pixels, as stored.
        names: of each channel in the file's order; empty where the file does not say.
        dtype: of its numbers: uint8, uint16, int16 or float32 (float16 and float64 are read as float32).
        plain: whether Pillow reads it as 8-bit RGB without a loss, grey repeated.
        nodata: the number that marks pixels without a value, by the file's own word; None where it names none.
        turn: its EXIF orientation, 1 to 8.
    """

    height: int
    width: int
    names: tuple[str, ...]
    dtype: str
    plain: bool = False
    nodata: float | None = None
    turn: int = 1

    def __post_init__(self) -> None:
        """Refuses what no reader takes: an empty image, more than 64 channels, other kinds of numbers."""
        if not self.height or not self.width or not self.names:
            raise UnfitError(
                f"{self.height} x {self.width} pixels of {plural(len(self.names), 'channel')}, expected 1 or more of "
                "each; remove or replace it"
            )
        if len(self.names) > MOST:
            raise UnfitError(f"{len(self.names):,} channels, expected 1 to {MOST}; leave out those that do not matter")
        if self.dtype not in DTYPES:
            raise UnfitError(f"numbers of type {self.dtype}, expected {', '.join(DTYPES)}; save it as one of these")

    @property
    def count(self) -> int:
        """Channels."""
        return len(self.names)


def dtype_word(kind: str) -> str:
    """Returns the type that numbers of a NumPy type are read as: float16 and float64 as float32."""
    return NUMBERS.get(kind, kind)


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names as a file gives them, stripped; all empty where two are alike, which names none."""
    clean = tuple(" ".join(name.split()).replace(",", " ") for name in names)
    known = [name for name in clean if name]
    return clean if len(set(known)) == len(known) else ("",) * len(clean)
