"""The report of a load of weights: which tensors matched, were resized, are new or unused."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.system.size import HeightWidth
from maekit.weights.chosen import split_key
from maekit.weights.read.shorten import collapse, some
from maekit.weights.state.sets import WeightSet
from maekit.weights.state.state_file import in_words

_OF_HEAD = re.compile(r"(head\.[^.]+)\..*")


@dataclass(frozen=True)
class Report:
    """The outcome of a load; every tensor of the file and of the model is in exactly one of the four lists.

    Names are the model's without `backbone.` (`blocks.0.norm1.weight`, `head.fc.weight`); those of `unused` are
    facebookresearch/mae's (`head.weight`), or the file's own where that has none.

    Attributes:
        path: the file.
        layout: the name of its layout, see `maekit.weights.state.state_file.StateFile`.
        kind: what it holds.
        matched: copied as they are.
        resized: brought to the model's patch grid first.
        new: not in the file; they keep the values they were built with.
        unused: in the file, not in the model.
        patches: the patch sizes in pixels, in the file and in the model, where filters were resized.
        grids: the patch grids, (h, w) in the file and in the model, where something was resized.
        coverage: share of the backbone's parameters, by number of elements, that came from the file; in [0, 1].
        classes: the result of comparing the head's classes; empty if nothing was compared.
        chosen: which of the file's sets of tensors it was, and what there is beside it; None for a folder.
        bands: how the patch filters became those of the model's channels, a line a kind; empty where they are kept.
        notes: what was assumed because the file does not record it.
        pretraining: how its ViT was trained, a word of `state.pretraining`; empty where that cannot be told.
    """

    path: Path
    layout: str
    kind: str
    matched: tuple[str, ...]
    resized: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    patches: tuple[int, int] | None
    grids: tuple[HeightWidth, HeightWidth] | None
    coverage: float
    classes: str = ""
    bands: tuple[str, ...] = ()
    chosen: WeightSet | None = None
    notes: tuple[str, ...] = ()
    pretraining: str = ""

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
        text += [f"  bands   {line}" for line in self.bands]
        text += [f"  classes {self.classes}"] if self.classes else []
        text += [f"  {line}" for line in beside_lines(self.path, self.chosen)]
        return text + [f"  assumed {note}" for note in self.notes]


def beside_lines(path: Path, chosen: WeightSet | None) -> list[str]:
    """Lists what else is in the file: numbers of tensors by key, and the other sets of weights."""
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
    """Shortens names for a line of text; if there are many, a head's become its parts (`head.pyramid.*`)."""
    if len(short := collapse(names)) > most:
        short = list(dict.fromkeys(_OF_HEAD.sub(r"\1.*", name) for name in short))
    return some(short, most)
