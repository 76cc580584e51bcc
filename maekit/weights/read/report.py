"""What a load of weights did, in a few lines."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from maekit.weights.chosen import split_key
from maekit.weights.read.kinds import Kind, Layout, in_words
from maekit.weights.read.sets import WeightSet

Grid = tuple[int, int]
_OF_HEAD = re.compile(r"(head\.[^.]+)\..*")
_NUMBERED = re.compile(r"(.*?)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Report:
    """What of a file went into a model; every tensor of either is in exactly one of the four lists.

    Names are the model's without `backbone.` (`blocks.0.norm1.weight`, `head.fc.weight`); those of `unused` are
    facebookresearch/mae's (`head.weight`), or the file's own where that has none.

    Attributes:
        path: the file.
        layout: whose file it is, see `maekit.weights.read.state_file.StateFile`.
        kind: what it holds.
        matched: copied as they are.
        resized: brought to the model's patch grid first.
        new: not in the file; they keep the values they were built with.
        unused: in the file, not in the model.
        patches: the patch sizes in pixels, in the file and in the model, where filters were resized.
        grids: the patch grids, (h, w) in the file and in the model, where something was resized.
        coverage: share of the backbone's parameters, by number of elements, that came from the file; in [0, 1].
        classes: what comparing the head's classes gave; empty where nothing was compared.
        chosen: which of the file's sets of tensors it was, and what there is beside it; None for a folder.
        notes: what was assumed because the file does not say it.
    """

    path: Path
    layout: Layout
    kind: Kind
    matched: tuple[str, ...]
    resized: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    patches: tuple[int, int] | None
    grids: tuple[Grid, Grid] | None
    coverage: float
    classes: str = ""
    chosen: WeightSet | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report as text: one line on the whole, one for each list that has something in it."""
        grids = "" if self.grids is None else " ({}x{} -> {}x{} patches)".format(*self.grids[0], *self.grids[1])
        if self.patches is not None:
            grids += " (patches of {} -> {} px)".format(*self.patches)
        share = f"{100 * self.coverage:.1f}% of the backbone's parameters"
        text = [f"weights {self.path} ({in_words(self.layout, self.kind)}): {share}"]
        for word, names in (
            ("matched", self.matched),
            ("resized", self.resized),
            ("new", self.new),
            ("unused", self.unused),
        ):
            if names:
                text.append(f"  {word:<7} {len(names):>4}: {_parts(names)}{grids if word == 'resized' else ''}")
        text += [f"  classes {self.classes}"] if self.classes else []
        text += [f"  {line}" for line in beside_lines(self.path, self.chosen)]
        return text + [f"  assumed {note}" for note in self.notes]


def beside_lines(path: Path, chosen: WeightSet | None) -> list[str]:
    """What a file has besides the set of tensors that was read: how many tensors, and the other sets by name."""
    if chosen is None:
        return []
    file, _ = split_key(path)
    lines = [f"beside  {sum(chosen.beside.values()):>4}: {_counted(chosen.beside)}"] if chosen.beside else []
    if chosen.others:
        ways = " or ".join(f"{file}#{other}" for other in chosen.others)
        lines.append(f"sets    read: {chosen.key or 'the tensors of the file itself'}; for another give {ways}")
    elif chosen.key not in ("", "state_dict", "model"):
        lines.append(f"sets    read: {chosen.key}")
    return lines


def _counted(beside: Mapping[str, int]) -> str:
    shown = [f"{key} ({number})" for key, number in list(beside.items())[:6]]
    return ", ".join(shown) + (f" and {len(beside) - 6} more" if len(beside) > 6 else "")


def _parts(names: Sequence[str], most: int = 8) -> str:
    """Names for a line of text; of many, those in the head by its parts (`head.pyramid.*`), and what follows is cut."""
    if len(short := collapse(names)) > most:
        short = list(dict.fromkeys(_OF_HEAD.sub(r"\1.*", name) for name in short))
    return some(short, most)


def some(names: Sequence[str], most: int = 8) -> str:
    """Names for a line of text, collapsed and cut after `most` entries."""
    short = collapse(names)
    return ", ".join(short[:most]) + (f" and {len(short) - most} more" if len(short) > most else "")


def collapse(names: Iterable[str]) -> list[str]:
    """Shortens names of parameters: those of blocks to `blocks.0-11.*`, those of one module to `norm.*`.

    Blocks are joined when they list the same parameters; `*` stands for two names or more, not always for all.
    """
    numbers: dict[tuple[str, str], list[int]] = {}
    groups: dict[str, list[str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            numbers.setdefault((match[1], match[3]), []).append(int(match[2]))
        else:
            parent, dot, leaf = name.rpartition(".")
            groups.setdefault(parent + dot, []).append(leaf)
    for (stem, rest), at in numbers.items():
        groups.setdefault(f"{stem}.{_ranges(at)}.", []).append(rest)
    return [short for start, rests in groups.items() for short in _joined(start, rests)]


def _joined(start: str, rests: list[str]) -> list[str]:
    if len(rests) == 1 or not start:
        return [start + rest for rest in rests]
    parts = zip(*(rest.split(".") for rest in rests), strict=False)
    common = [same[0] for same in takewhile(lambda same: len(set(same)) == 1, parts)]
    return [start + ".".join([*common, "*"])]


def _ranges(numbers: Iterable[int]) -> str:
    """Writes 0, 1, 2, 5 as `0-2,5`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
