"""Colour-coded label maps: a table of the colour of each class, and how colours become class numbers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from maekit.errors import UserError, nearest
from maekit.segmentation.data.palette import Colour

USUAL = ("class_dict.csv", "labelmap.txt", "label_colors.txt", "colors.txt", "colours.csv", "colors.csv")
IGNORE_WORDS = ("ignore", "ignored")
IGNORED = 255
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
        ignored: colours of pixels that do not count.
        ignore_edges: pixels of other colours between two classes do not count either; else they are refused.
    """

    path: Path
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    ignored: tuple[Colour, ...] = ()
    ignore_edges: bool = False

    @cached_property
    def lookup(self) -> np.ndarray:
        """[2**24] uint8: the class of each colour, 254 of a colour that is not in the table."""
        found = np.full(1 << 24, UNKNOWN, np.uint8)
        found[_codes(np.array(self.colours))] = np.arange(len(self.colours))
        if self.ignored:
            found[_codes(np.array(self.ignored))] = IGNORED
        return found

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if key != "lookup"}  # workers make their own

    def content(self) -> bytes:
        """Returns what decides the classes of pixels, to make a fingerprint of."""
        return repr((self.colours, self.ignored, self.ignore_edges)).encode()

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
                advice = "name it too, take its line out, or write ,ignored at its end"
                raise UserError(f"{self.path}: a colour for '{name}', which is no class name; {advice}")
        return replace(self, names=names, colours=tuple(by_name[name] for name in names))

    def classes(self, pixels: np.ndarray, path: str | Path) -> np.ndarray:
        """Returns [H, W] uint8 classes of [H, W, 3] uint8 colours.

        Raises:
            UserError: a colour is not in the table.
        """
        codes = _codes(pixels)
        labels = np.asarray(self.lookup[codes])
        unknown = labels == UNKNOWN
        if not unknown.any():
            return labels
        edges = bool(_at_edges(labels, unknown).all())
        if not (edges and self.ignore_edges):
            raise UserError(f"{path}: {self._unknown(codes[unknown], edges=edges)}")
        return np.where(unknown, np.uint8(IGNORED), labels)

    def _unknown(self, codes: np.ndarray, *, edges: bool) -> str:
        found, counts = np.unique(codes, return_counts=True)
        code, count = int(found[counts.argmax()]), int(counts.max())
        colour = (code >> 16, code >> 8 & 255, code & 255)
        apart = ((np.array(self.colours) - np.array(colour)) ** 2).sum(axis=1)
        close = int(apart.argmin())
        more = f" and {len(found) - 1:,} other such colours" if len(found) > 1 else ""
        near = f"the nearest is {self.colours[close]} of '{self.names[close]}'"
        blended = "all are along edges between classes, so the masks were smoothed or resized: "
        flag = "save them without it, or add --data.colour_edges ignore, which leaves these pixels out"
        advice = (
            f"{blended}{flag}"
            if edges
            else "add it to the table, or save the masks as PNG without smoothing or resizing"
        )
        return f"colour {colour} of {count:,} pixels{more} is not in {self.path} ({near}); {advice}"


def _at_edges(labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Returns for each unknown pixel whether two different classes are within two pixels of it."""
    known = np.where(unknown, -1, labels.astype(np.int16))
    high, low = np.pad(known, 2, constant_values=-1), np.pad(np.where(unknown, 999, known), 2, constant_values=999)
    windows = (np.lib.stride_tricks.sliding_window_view(values, (5, 5))[unknown] for values in (high, low))
    largest, smallest = next(windows).max(axis=(1, 2)), next(windows).min(axis=(1, 2))
    return np.asarray(smallest < largest)


def _codes(colours: np.ndarray) -> np.ndarray:
    wide = colours.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])


def read_table(path: Path) -> ColourTable:
    """Reads a table of one class a line, or of JSON or YAML; `# comments` are skipped.

    A line is `name,r,g,b` or `name,#hex`, by commas or tabs, CVAT's `name:r,g,b::`, or CamVid's `r g b name`; with
    `,ignored` at its end pixels of the colour do not count. JSON and YAML map names to [r, g, b] or "#hex".

    Raises:
        UserError: the file cannot be read, an entry has another form, a name or a colour stands twice, or there are
            fewer than 2 or more than 254 classes.
    """
    table: dict[str, Colour] = {}
    ignored: list[str] = []
    for where, fields in _entries(path):
        out = len(fields) > 1 and fields[-1].casefold() in IGNORE_WORDS
        name, colour = fields[0], _colour(fields[1:-1] if out else fields[1:])
        if not name or colour is None:
            raise UserError(f"{where}: got {','.join(fields)!r:.60}, {FORM}, numbers of 0 to 255")
        if name.casefold() in map(str.casefold, table):
            raise UserError(f"{where}: '{name}' stands twice; give each class a name of its own")
        other = next((known for known, value in table.items() if value == colour), None)
        if other is not None:
            raise UserError(f"{where}: '{name}' and '{other}' both have the colour {colour}; give each its own")
        table[name] = colour
        ignored += [name] if out else []
    classes = {name: colour for name, colour in table.items() if name not in ignored}
    if not 2 <= len(classes) <= UNKNOWN:
        raise UserError(f"{path}: {len(classes)} classes, expected 2 to {UNKNOWN}; {FORM}")
    return ColourTable(path, tuple(classes), tuple(classes.values()), tuple(table[name] for name in ignored))


def find_table(root: Path, label: str) -> Path | None:
    """Returns the table with a usual name in a data folder, if this label map has colours; else None."""
    path = next((root / name for name in USUAL if (root / name).is_file()), None)
    try:
        with Image.open(label) as image:
            return path if image.mode in ("RGB", "RGBA") else None
    except OSError:  # reported where the label map is read
        return None


def _entries(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields where an entry stands, and its fields: the name first, then the colour."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        mapping = path.suffix.lower() in (".json", ".yaml", ".yml")
        content = yaml.load(text, Loader=yaml.BaseLoader) if mapping else None  # all text: `no` is a name, not False
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise UserError(f"{path}: cannot be read, {FORM}") from None
    if isinstance(content, dict):
        for name, value in content.items():
            yield f"{path}: {name}", [str(name), *map(str, value if isinstance(value, list) else [value])]
        return
    first = True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        swapped = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S.*?)\s*", line)  # CamVid's label_colors.txt
        cvat = re.fullmatch(r"([^:]+):\s*(\d+\s*,\s*\d+\s*,\s*\d+)\s*:.*:.*", line)
        plain = f"{cvat[1]},{cvat[2]}" if cvat else line
        fields = [field.strip() for field in re.split(r"[,\t;]", plain)]
        if not (first and HEADERS.issuperset(map(str.casefold, fields))):
            yield f"{path}:{number}", [swapped[4], *swapped.groups()[:3]] if swapped else fields
        first = False


def _colour(fields: list[str]) -> Colour | None:
    if len(fields) == 1 and re.fullmatch(r"#[0-9a-fA-F]{6}", fields[0]):
        fields = [str(int(fields[0][at : at + 2], 16)) for at in (1, 3, 5)]
    if len(fields) != 3 or not all(re.fullmatch(r"[0-9]{1,3}", field) and int(field) < 256 for field in fields):
        return None
    red, green, blue = map(int, fields)
    return red, green, blue


def choose_table(
    root: Path, given: str | None, label_map: str, other: str, *, ignore_edges: bool
) -> ColourTable | None:
    """Returns the table of colours that a flag gives, else the one beside coloured masks; None without one.

    Args:
        root: the data folder.
        given: `data.colours`.
        label_map: path of one of the label maps.
        other: the flag that gives another coding; empty if there is none.
        ignore_edges: see `ColourTable`.

    Raises:
        UserError: the table cannot be read, or another coding is given too.
    """
    path = Path(given).expanduser() if given else find_table(root, label_map)
    if path is None:
        return None
    if other:
        raise UserError(f"got data.colours with {other}, expected one of the two; colours name their classes")
    return replace(read_table(path), ignore_edges=ignore_edges)
