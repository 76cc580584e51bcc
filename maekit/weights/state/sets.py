"""The sets of tensors in one file: a model's own, an average of it beside, a teacher and a student."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from maekit.errors import UserError, nearest
from maekit.weights.layouts.layout import Contents
from maekit.weights.layouts.registry import layouts
from maekit.weights.state.encoders import encoder_prefixes
from maekit.weights.state.foreign import seems

_USUAL = ("state_dict", "model")  # where the model itself is, in nearly every file
_STATE = ("optim", "lr_sched", "sched", "scaler", "callbacks", "loops", "rng")  # of a training, by how their keys begin
_DEEPEST = 3
# What follows another set: an average of it, or a momentum encoder.
_FOLLOWS = re.compile(r"ema|averag|(?:^|[._])(?:avg|swa|shadow|polyak|momentum|target|trained)(?:[._]|$)")
# What torch puts into names: torch.compile of a part, recomputed blocks, FSDP.
_WRAPPED = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
BARE = "."  # the key of names without a prefix, beside others that have one


@dataclass(frozen=True)
class WeightSet:
    """One set of tensors of a file.

    Attributes:
        key: where it is, with points between the keys (`state_dict`, `state_dict.model`), or a user's own key; empty:
            the file itself.
        tensors: by the names they have there.
        asked: whether a user chose it by its key.
        others: the keys of other sets that hold an encoder too, as `FILE#KEY` takes them.
        beside: how many tensors the file has elsewhere, by the first of their keys.
        places: first keys of all that holds tensors by name.
    """

    key: str
    tensors: dict[str, Tensor]
    asked: bool
    others: tuple[str, ...]
    beside: Mapping[str, int]
    places: frozenset[str]


def choose_set(path: Path, contents: Mapping[object, object], key: str = "") -> WeightSet:
    """Chooses the set of tensors that a user named, or the one that holds the model.

    That is the one a layout says (a teacher beside its student), else the one under `state_dict` or `model`, else the
    file itself, else the only one with an encoder, else the only one whose key does not say that it follows another
    (`model_ema`, `momentum_encoder`).

    Raises:
        UserError: the file has no tensors by name; no set of that key; or several that could be meant.
    """
    sets = dict(_find(contents))
    able = [place for place, tensors in sets.items() if encoder_prefixes(tensors)]
    chosen, tensors = _named(path, key, sets) if key else _default(path, sets, able, contents)
    mine = {id(tensor) for tensor in tensors.values()}
    return WeightSet(
        key=chosen,
        tensors=tensors,
        asked=bool(key),
        others=tuple(place for place in able if sets[place] is not tensors and place and not key.startswith(place)),
        beside=_count(contents, mine),
        places=frozenset(place.partition(".")[0] for place in sets if place),
    )


def whole_set(tensors: dict[str, Tensor]) -> WeightSet:
    """Returns all tensors of a file or folder that holds nothing else."""
    return WeightSet("", tensors, asked=False, others=(), beside={}, places=frozenset())


def _find(
    contents: Mapping[object, object], place: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields every level of nested dicts that has tensors by name, with its key; torch's wrappers are left out."""
    tensors = {str(name): value for name, value in contents.items() if isinstance(value, Tensor)}
    if tensors:
        plain = {_WRAPPED.sub("", name): value for name, value in tensors.items()}
        yield place, plain if len(plain) == len(tensors) else tensors
    for key, value in contents.items():
        known = isinstance(value, Mapping) and isinstance(key, str) and not key.lower().startswith(_STATE)
        if known and depth < _DEEPEST:
            yield from _find(value, f"{place}.{key}" if place else str(key), depth + 1)  # type: ignore[arg-type]


def _default(
    path: Path, sets: Mapping[str, dict[str, Tensor]], able: Sequence[str], contents: Mapping[object, object]
) -> tuple[str, dict[str, Tensor]]:
    if meant := next(_meant(sets), None):
        return meant, sets[meant]
    usual = [place for place in (*_USUAL, "") if place in sets and (place in able or not able)]
    leading = [place for place in able if not _FOLLOWS.search(place.lower())]
    for places in (usual[:1], able, leading):
        if len(places) == 1 and not (places is leading and "student" in places[0]):
            return places[0], sets[places[0]]
    if able:
        ways = " or ".join(f"{path}#{place}" for place in able)
        raise UserError(f"{path} holds {len(able)} sets of weights, expected one; choose with {ways}")
    keys = ", ".join(map(str, list(contents)[:5])) or "nothing"
    raise UserError(
        f"{path} holds {keys}, expected tensors by name, alone or under 'model'; save a state_dict()"
        f"{seems(f'{each}.' for each in contents)}"
    )


def _meant(sets: Mapping[str, dict[str, Tensor]]) -> Iterator[str]:
    """Yields the set that a layout says is meant, where all of its sets are there and it knows that one's names."""
    for layout in layouts().values():
        if not layout.meant or not all(place in sets for place in layout.meant):
            continue
        key = layout.meant[0]
        contents = Contents(sets[key], {}, key)
        if any(layout.recognise(contents, prefix) for prefix in encoder_prefixes(sets[key])):
            yield key


def _named(path: Path, key: str, sets: Mapping[str, dict[str, Tensor]]) -> tuple[str, dict[str, Tensor]]:
    """Returns the set with this key, or the tensors whose names begin with it, which is taken off."""
    if key in sets:
        return key, sets[key]
    for place, tensors in sets.items():
        for start in (f"{key}.", f"{key}.".removeprefix(f"{place}.")):
            if inside := {
                name.removeprefix(start): t for name, t in tensors.items() if start and name.startswith(start)
            }:
                return key, inside
        prefixes = [prefix for prefix in encoder_prefixes(tensors) if prefix]
        if key == BARE and prefixes:
            return key, {name: t for name, t in tensors.items() if not name.startswith(tuple(prefixes))}
    known = [place for place in sets if place]
    there = f"; it has {', '.join(known[:6])}" if known else ""
    raise UserError(f"{path} has no weights under '{key}'{nearest(key, known) or there}")


def _count(contents: object, mine: Collection[int], most: int = 12) -> dict[str, int]:
    """Counts the tensors under each key of a file, except those in `mine`."""
    if not isinstance(contents, Mapping):
        return {}
    found = {str(key): _tensors(value, mine, most) for key, value in contents.items()}
    return {key: number for key, number in found.items() if number}


def _tensors(value: object, mine: Collection[int], depth: int) -> int:
    if isinstance(value, Tensor):
        return int(id(value) not in mine)
    inside = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else []
    return sum(_tensors(each, mine, depth - 1) for each in inside) if depth else 0
