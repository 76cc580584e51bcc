"""What a study varies: lists and ranges of keys, the cells they span, and a cell's folder name and flags.

Standard library only.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import TypeAlias

from maekit.errors import UserError
from maekit.system.plain import JSON

Cell: TypeAlias = dict[str, JSON]
_MAX_VALUE = 40  # characters of a value in a name that would be too long
_MAX_NAME = 120  # of the 255 bytes that file systems allow, since suffixes are added for the run's files and logs


@dataclass(frozen=True)
class Choice:
    """A key that takes each of some values.

    Attributes:
        key: dotted, such as `optim.layer_decay`.
        values: plain values without repeats.
    """

    key: str
    values: tuple[JSON, ...]


@dataclass(frozen=True)
class Interval:
    """A key sampled from low to high, both included; integers if both ends are integers.

    Attributes:
        key: dotted.
        low: the smallest value.
        high: the largest, above `low`.
        log: sampled uniformly in the logarithm; `low` is above 0 then.
    """

    key: str
    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether integers are sampled: both ends are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = tuple[Choice | Interval, ...]


def grid_cells(space: Sequence[Choice | Interval]) -> list[Cell]:
    """Every combination of the values, the last key varying fastest.

    Raises:
        UserError: a range, which has no list of values.
    """
    for axis in space:
        if isinstance(axis, Interval):
            raise UserError(
                f"got a range of {axis.key} in a grid, expected a list; "
                f"use --grid {axis.key}=V,V,... or --sampler random"
            )
    lists = [axis.values for axis in space if isinstance(axis, Choice)]
    return [dict(zip((axis.key for axis in space), values, strict=True)) for values in itertools.product(*lists)]


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Maps each dotted key to its last part, or to itself if another key has the same last part."""
    keys = list(keys)
    ends = [key.rpartition(".")[2] for key in keys]
    return {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}


def short_value(value: object) -> str:
    """A value in names and tables: `0.65`, `1e-4`, `true`, `[0.9,0.999]`. Different values look different."""
    if isinstance(value, float) and math.isfinite(value) and value and not 1e-3 <= abs(value) < 1e6:
        sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
        tail = "".join(map(str, digits[1:]))
        power = int(exponent) + len(digits) - 1
        return f"{'-' if sign else ''}{digits[0]}{'.' + tail if tail else ''}e{power}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(short_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def cell_name(cell: Mapping[str, JSON], seed: int, fold: str | None = None) -> str:
    """The folder name of one run, such as `layer_decay=0.65,lr=1e-4,seed=1`; at most 120 characters.

    Characters that are unsafe in file names become `-`. A name that was changed or cut ends with eight hexadecimal
    digits of a hash of the whole cell, seed and fold, so that it stays unique.

    Args:
        cell: dotted key -> value.
        seed: the run's seed.
        fold: the run's, as `2/5`, which becomes `fold=2of5`; None without folds.
    """
    names = short_keys(cell)
    repeat = f"seed={seed}" if fold is None else f"seed={seed},fold={fold.replace('/', 'of')}"
    whole = ",".join([*(f"{names[key]}={short_value(value)}" for key, value in cell.items()), repeat])
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "-", whole)
    if safe == whole and len(safe) <= _MAX_NAME:
        return safe
    if len(safe) > _MAX_NAME:  # of long values, such as files of weights, the end is kept
        cut = [f"{names[key]}={short_value(value)[-_MAX_VALUE:]}" for key, value in cell.items()]
        safe = re.sub(r"[^A-Za-z0-9._=,+-]", "-", ",".join([*cut, repeat]))
    exact = json.dumps([sorted(cell.items()), seed, *([] if fold is None else [fold])], default=str)
    digest = blake2b(exact.encode(), digest_size=4).hexdigest()
    end = f",{repeat},{digest}"
    return safe.removesuffix(f",{repeat}")[: _MAX_NAME - len(end)] + end


def flags_of(cell: Mapping[str, JSON], seed: int, fold: str | None = None) -> list[str]:
    """The flags with which `maekit fit` trains a cell with a seed, and on all folds but one."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in cell.items()}
    repeat = [f"--run.seed={seed}", *([] if fold is None else [f"--data.fold={fold}"])]
    return [*(f"--{key}={text}" for key, text in texts.items()), *repeat]


def parse_grid(text: str) -> tuple[str, list[str]]:
    """Parses `KEY=V,V,...`, whose values may be lists in brackets.

    Returns:
        The key, and each value's text.

    Raises:
        UserError: no key or no value.
    """
    key, equals, listed = text.partition("=")
    values = [value.strip() for value in _split(listed)]
    if not key or not equals or not all(values):
        raise UserError(f"--grid: got '{text}', expected KEY=VALUE,VALUE,... such as optim.layer_decay=0.65,0.75")
    return key.removeprefix("--"), values


def parse_range(text: str) -> Interval:
    """Parses `KEY=LOW:HIGH` or `KEY=LOW:HIGH:log`.

    Raises:
        UserError: another form, LOW not below HIGH, or a logarithmic range whose LOW is not above 0.
    """
    key, _, ends = text.partition("=")
    low, high, *rest = [*ends.split(":"), "", ""][: max(3, ends.count(":") + 1)]
    expected = "expected KEY=LOW:HIGH or KEY=LOW:HIGH:log such as optim.base_lr=1e-4:1e-2:log"
    try:
        interval = Interval(key.removeprefix("--"), _number(low), _number(high), rest[0] == "log")
    except ValueError:
        interval = Interval("", 0, 0)
    if not interval.key or rest not in ([""], ["log"], ["", ""], ["log", ""]):
        raise UserError(f"--range: got '{text}', {expected}")
    if not interval.low < interval.high or (interval.log and interval.low <= 0):
        above = " and above 0" if interval.log else ""
        raise UserError(f"--range {interval.key}: got {low}:{high}, expected LOW below HIGH{above}")
    return interval


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _split(text: str) -> list[str]:
    """Splits at commas outside brackets and quotes."""
    pieces, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "[{(") - (letter in "]})")
            if letter == "," and depth == 0:
                pieces.append("")
                continue
        pieces[-1] += letter
    return pieces
