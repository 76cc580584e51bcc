"""The help of a task's flags: the most used first, in short words for types. Standard library only."""

import shutil
import textwrap
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Union, get_args, get_origin

# What most users change, in the order in which they meet it; the first `NUM_SHOWN` that a task has are shown.
MOST_USED = (
    "data.root", "model.weights", "model.backbone", "data.val_fraction", "data.image_size", "data.crop_size",
    "data.total_batch_size", "data.device_batch_size", "trainer.max_epochs", "trainer.max_steps", "optim.base_lr",
    "optim.lr", "optim.layer_decay", "optim.weight_decay", "model.mask_ratio", "model.drop_path", "model.freeze",
    "trainer.devices", "trainer.precision", "run.name", "run.patience", "run.seed", "optim.warmup_epochs", "data.table",
    "data.classes", "data.num_workers", "run.folder", "model.monitor",
)  # fmt: skip
NUM_SHOWN = 20
_WORDS = {str: "TEXT", int: "COUNT", float: "NUMBER", bool: "true|false", type(None): "null", dict: "MAPPING"}


@dataclass(frozen=True)
class FlagHelp:
    """What the help says of one flag.

    Attributes:
        key: dotted, such as `optim.layer_decay`.
        kind: its type in short, see `type_words`.
        default: its value where no flag sets it.
        text: what it means.
        section: the title under which the whole help has it.
    """

    key: str
    kind: str
    default: object
    text: str
    section: str


def type_words(hint: object) -> str:
    """A type in short: `TEXT`, `NUMBER|null`, `cosine|poly|multistep`, `[COUNT,...]`."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "|".join(map(_value_words, inner))
    if origin in (Union, types.UnionType):
        words = [word for part in inner for word in type_words(part).split("|")]
        kept = [word for word in dict.fromkeys(words) if word != "null" and (word != "COUNT" or "NUMBER" not in words)]
        return "|".join([*kept, *(["null"] if "null" in words else [])])
    if origin in (list, tuple, Sequence):
        return f"[{type_words(inner[0])},...]" if inner else "[...]"
    if origin in (dict, Mapping):
        return "MAPPING"
    return _WORDS.get(hint, getattr(hint, "__name__", "VALUE").upper()) if isinstance(hint, type) else "VALUE"


def most_used(flags: Sequence[FlagHelp]) -> list[FlagHelp]:
    """The flags that matter most, at most `NUM_SHOWN`, in the order of `MOST_USED`."""
    known = {flag.key: flag for flag in flags}
    return [known[key] for key in MOST_USED if key in known][:NUM_SHOWN]


def short_help(flags: Sequence[FlagHelp], width: int | None = None) -> str:
    """The most used flags, each with its type, default and meaning."""
    return "\n".join(["flags most used:", *_entries(most_used(flags), width)])


def whole_help(flags: Sequence[FlagHelp], width: int | None = None) -> str:
    """Every flag, by section."""
    titles = list(dict.fromkeys(flag.section for flag in flags))
    lines: list[str] = []
    for title in titles:
        lines += [f"{title}:", *_entries([flag for flag in flags if flag.section == title], width), ""]
    return "\n".join(lines).rstrip()


def help_width() -> int:
    """Characters of a line of help: the terminal's, at most 120; 100 where there is none."""
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def _entries(flags: Sequence[FlagHelp], width: int | None) -> list[str]:
    width = help_width() if width is None else width
    lines: list[str] = []
    for flag in flags:
        lines.append(f"  --{flag.key} {flag.kind}")
        text = f"{flag.text.strip().rstrip('.')}. Default: {_value_words(flag.default)}"
        lines += textwrap.wrap(" ".join(text.split()), width, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return lines


def _value_words(value: object) -> str:
    """A value as it would be typed after its flag."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value_words, value))}]"
    return str(value) if value != "" else "''"
