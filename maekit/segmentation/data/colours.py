"""Colour-coded label maps: a table of the colour of each class, and how colours become class numbers."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from maekit.errors import UserError, nearest
from maekit.segmentation.data.palette import Colour

UNKNOWN = 254  # in the lookup; a table has at most 254 classes, 0 to 253
FORM = "expected a line such as road,128,64,128 or road,#804080 for each class"
HEADERS = {"name", "class", "label", "r", "g", "b", "red", "green", "blue", "hex", "color", "colour"}


@dataclass(frozen=True, eq=False)
class ColourTable:
    """The colours of the classes.

    Attributes:
        path: the file, for messages.
        names: one a class, in the file's order.
        colours: one a class, red, green and blue in 0..255.
    """

    path: Path
    names: tuple[str, ...]
    colours: tuple[Colour, ...]

    @cached_property
    def lookup(self) -> np.ndarray:
        """[2**24] uint8: the class of each colour, 254 of a colour that is not in the table."""
        found = np.full(1 << 24, UNKNOWN, np.uint8)
        found[_codes(np.array(self.colours))] = np.arange(len(self.colours))
        return found

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "names": self.names, "colours": self.colours}  # workers make their own lookup

    def in_order(self, names: tuple[str, ...]) -> "ColourTable":
        """Returns the table with the classes in another order.

        Raises:
            UserError: a class has no colour, or a colour no class.
        """
        by_name = dict(zip(self.names, self.colours, strict=True))
        for name in names:
            if name not in by_name:
                raise UserError(f"{self.path}: no colour for class '{name}'{nearest(name, self.names)}; add its line")
        for name in self.names:
            if name not in names:
                advice = "name it too, or take its line out"
                raise UserError(f"{self.path}: a colour for '{name}', which is no class name; {advice}")
        return ColourTable(self.path, names, tuple(by_name[name] for name in names))

    def classes(self, pixels: np.ndarray, path: str | Path) -> np.ndarray:
        """Returns [H, W] uint8 classes of [H, W, 3] uint8 colours.

        Raises:
            UserError: a colour is not in the table.
        """
        codes = _codes(pixels)
        labels = np.asarray(self.lookup[codes])
        wrong = codes[labels == UNKNOWN]
        if len(wrong):
            raise UserError(f"{path}: {self._unknown(wrong)}")
        return labels

    def _unknown(self, codes: np.ndarray) -> str:
        found, counts = np.unique(codes, return_counts=True)
        code, count = int(found[counts.argmax()]), int(counts.max())
        colour = (code >> 16, code >> 8 & 255, code & 255)
        apart = ((np.array(self.colours) - np.array(colour)) ** 2).sum(axis=1)
        close = int(apart.argmin())
        more = f" and {len(found) - 1:,} other such colours" if len(found) > 1 else ""
        near = f"the nearest is {self.colours[close]} of '{self.names[close]}'"
        advice = "add it to the table, or save the masks as PNG without smoothing or resizing"
        return f"colour {colour} of {count:,} pixels{more} is not in {self.path} ({near}); {advice}"


def _codes(colours: np.ndarray) -> np.ndarray:
    wide = colours.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def read_table(path: Path) -> ColourTable:
    """Reads a table of one class a line: name and r,g,b or #hex, by commas or tabs; `# comments` are skipped.

    Raises:
        UserError: the file cannot be read, a line has another form, a name or a colour stands twice, or there are
            fewer than 2 or more than 254 classes.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as text, {FORM}") from None
    table: dict[str, Colour] = {}
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in re.split(r"[,\t;]", line)]
        if not line.strip() or line.startswith("#") or (not table and HEADERS.issuperset(map(str.casefold, fields))):
            continue
        name, colour = fields[0], _colour(fields[1:])
        where = f"{path}:{number}"
        if not name or colour is None:
            raise UserError(f"{where}: got {line.strip()!r:.60}, {FORM}, numbers of 0 to 255")
        if name.casefold() in map(str.casefold, table):
            raise UserError(f"{where}: '{name}' stands twice; give each class a name of its own")
        other = next((known for known, value in table.items() if value == colour), None)
        if other is not None:
            raise UserError(f"{where}: '{name}' and '{other}' both have the colour {colour}; give each its own")
        table[name] = colour
    if not 2 <= len(table) <= UNKNOWN:
        raise UserError(f"{path}: {len(table)} classes, expected 2 to {UNKNOWN}; {FORM}")
    return ColourTable(path, tuple(table), tuple(table.values()))


def _colour(fields: list[str]) -> Colour | None:
    if len(fields) == 1 and re.fullmatch(r"#[0-9a-fA-F]{6}", fields[0]):
        fields = [str(int(fields[0][at : at + 2], 16)) for at in (1, 3, 5)]
    if len(fields) != 3 or not all(re.fullmatch(r"[0-9]{1,3}", field) and int(field) < 256 for field in fields):
        return None
    red, green, blue = map(int, fields)
    return red, green, blue
