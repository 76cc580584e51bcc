"""Puts the rows of a file's head in the order of the model's classes, or explains why that is impossible."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maekit.weights.families.family import Rows
from maekit.weights.families.fit import ANEW
from maekit.weights.families.registry import class_heads
from maekit.weights.load.classes import Classes, Words, are_placeholders, are_synsets, words

_NEARLY = 0.9  # share of ImageNet's names that must be found where other lists spell some of them otherwise


class Comparison(NamedTuple):
    """The result of comparing two lists of classes.

    Attributes:
        order: for each class of the model the file's row; None where the rows stay as they are.
        outcome: for the report.
        problem: why the head cannot be used; empty where it can.
    """

    order: tuple[int, ...] | None = None
    outcome: str = ""
    problem: str = ""


def compare_classes(theirs: Classes | None, ours: Classes) -> Comparison:
    """Compares a file's classes with as many of a model's: by ids, by names, then by what a class may be called.

    Case, underscores, hyphens and spaces do not matter, and WordNet's ids are compared with names by WordNet's words.
    Names that only number the classes tell nothing, unless both lists have the same ones.
    """
    count = len(ours.names)
    if theirs is None or len(theirs.names) != count:
        return Comparison(outcome=f"unchecked: the file does not name its {count} classes; {_TAKEN}")
    for mine, other in ((ours.ids, theirs.ids), (ours.names, theirs.names)):
        numbers = mine is ours.ids and all(ident.isdecimal() for ident in mine)  # such as COCO's category ids
        if not numbers and (order := _exact(mine, other)) is not None:
            return _ordered(order)
    for whose, classes in (("the data", ours), ("the file", theirs)):
        if are_placeholders(classes.names) and are_placeholders(classes.ids):
            names = classes.names
            return Comparison(outcome=f"unchecked: the names in {whose} are numbers ('{names[0]}', ...); {_TAKEN}")
    return _by_words(theirs, ours)


_TAKEN = "they are taken to be the data's, in its order"


def _exact(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...] | None:
    """The order where both are the same distinct words."""
    if len(set(ours)) != len(ours) or set(ours) != set(theirs) or len(ours) != len(theirs):
        return None
    places = {name: place for place, name in enumerate(theirs)}
    return tuple(places[name] for name in ours)


def _ordered(order: tuple[int, ...]) -> Comparison:
    if order == tuple(range(len(order))):
        return Comparison(outcome=f"{len(order)} compared by name: the same, in the same order")
    at = next(place for place, row in enumerate(order) if place != row)
    return Comparison(
        order,
        f"{len(order)} compared by name: the same in another order; the head's rows were put in the data's order "
        f"(class {at} was row {order[at]})",
    )


def _by_words(theirs: Classes, ours: Classes) -> Comparison:
    found, wanted = words(theirs), words(ours)
    differing = [place for place, (a, b) in enumerate(zip(found, wanted, strict=True)) if not a.same(b)]
    if not differing:
        return _ordered(tuple(range(len(wanted))))
    if (order := _by_search(found, wanted)) is not None:
        return _ordered(order)
    strangers = (place for place in differing if not any(found[place].same(each) for each in wanted))
    at = next(strangers, differing[0])
    pair = f"class {at} is '{_called(theirs, at)}' in its head and '{_called(ours, at)}' in the data"
    if _spelt_otherwise(theirs, ours, differing, found, wanted):
        outcome = (
            f"{len(wanted)} compared by name: {len(differing)} are spelt otherwise ({pair}), the rest are the same"
        )
        return Comparison(outcome=outcome)
    mend = f"evaluate on the data it was trained on, or fine-tune with {ANEW}"
    return Comparison(problem=f"its head has other classes: {pair} ({len(differing)} of {len(wanted)} differ): {mend}")


def _called(classes: Classes, place: int) -> str:
    name, ident = classes.names[place], (classes.ids or classes.names)[place]
    return name if name == ident or ident.isdecimal() else f"{ident} {name}"


def _by_search(found: Sequence[Words], wanted: Sequence[Words]) -> tuple[int, ...] | None:
    """For each wanted class the one place where it is found; None where one has none or several."""
    whole: dict[str, set[int]] = {}
    parts: dict[str, set[int]] = {}
    for place, each in enumerate(found):
        for word in each.whole:
            whole.setdefault(word, set()).add(place)
        for word in each.parts:
            parts.setdefault(word, set()).add(place)
    order = []
    for each in wanted:
        exact = set().union(*(whole.get(word, set()) for word in each.whole))
        loose = set().union(
            *(parts.get(word, set()) for word in each.whole), *(whole.get(w, set()) for w in each.parts)
        )
        places = exact if len(exact) == 1 else exact | loose
        if len(places) != 1:
            return None
        order.append(places.pop())
    return tuple(order) if len(set(order)) == len(order) else None


def _spelt_otherwise(
    theirs: Classes, ours: Classes, differing: Sequence[int], found: Sequence[Words], wanted: Sequence[Words]
) -> bool:
    """Whether two lists of ImageNet's classes differ in words alone: few differ, and none of these stands elsewhere."""
    if not (are_synsets(theirs) or are_synsets(ours)) or len(differing) > (1 - _NEARLY) * len(wanted):
        return False
    return not any(found[a].same(wanted[b]) for a in differing for b in differing if a != b)


def class_rows(tensors: Mapping[str, Tensor], count: int) -> list[str]:
    """Names of the tensors that have rows for each of `count` classes."""
    every = {name: _rows(name) for name in tensors}
    return [name for name, rows in every.items() if rows and tensors[name].shape[0] == rows.each * count + rows.beside]


def reorder(tensors: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """The tensors with the rows of their classes in another order; what has no row a class stays as it is."""
    chosen = set(class_rows(tensors, len(order)))
    return {name: _permute(name, tensor, order) if name in chosen else tensor for name, tensor in tensors.items()}


def _permute(name: str, tensor: Tensor, order: Sequence[int]) -> Tensor:
    each, beside = _rows(name) or Rows()
    index = [row * each + part for row in order for part in range(each)]
    index += range(len(order) * each, len(order) * each + beside)
    return tensor[torch.tensor(index)]


def _rows(name: str) -> Rows | None:
    every = ((start, rows) for head in class_heads() for start, rows in head.rows.items())
    return next((rows for start, rows in every if name.startswith(start)), None)
