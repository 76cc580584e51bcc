"""The classes of a head: names in a file's metadata, and the spellings under which a class is found."""

import csv
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from maekit.system.light_imports import package_file
from maekit.system.plain import table
from maekit.weights.read.metadata import card_of

_SYNSET = re.compile(r"(n\d{8})(?:[ _-]+(.+))?")
_PLACEHOLDER = re.compile(r"(?:label|class|cls|category|id)?[ _-]*\d+", re.IGNORECASE)


class Classes(NamedTuple):
    """The classes of a head or of a data set, in the order of their labels.

    Attributes:
        names: one a class, for people.
        ids: what tells classes apart where names are spelt in several ways, such as WordNet's; empty: not known.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()


def file_classes(meta: Mapping[str, object]) -> Classes | None:
    """The classes that a file of weights names; None where it names none.

    Read are the card of a maekit run, `id2label` of transformers, `meta.dataset_meta.classes` of mmengine (1.x),
    `meta.CLASSES` of mmcv (0.x), and `label_names` of timm, as the readers of the layouts have put them into `meta`.
    """
    card = card_of(meta)
    for names, ids in (
        (card.get("class_names"), card.get("class_ids")),
        (meta.get("class_names"), meta.get("class_ids")),
        (table(meta.get("meta")).get("CLASSES"), None),
    ):
        if found := _texts(names):
            given = _texts(ids)
            return Classes(found, given if len(given) == len(found) else ())
    return None


def _texts(values: object) -> tuple[str, ...]:
    return tuple(map(str, values)) if isinstance(values, (list, tuple)) else ()


def plain(word: str) -> str:
    """A name without what people spell differently: case, underscores, hyphens, surplus spaces, forms of Unicode."""
    return " ".join(re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", word)).casefold().split())


def are_placeholders(names: Sequence[str]) -> bool:
    """Whether names only number the classes: `LABEL_0`, `class_0001`, `7`."""
    return all(_PLACEHOLDER.fullmatch(name.strip()) for name in names)


class Words(NamedTuple):
    """What one class may be called: in full, and by the parts of names with commas (`tench, Tinca tinca`)."""

    whole: frozenset[str]
    parts: frozenset[str]

    def same(self, other: "Words") -> bool:
        """Whether two classes share a name, or one of them is called as a part of the other's."""
        return bool(self.whole & other.whole or self.whole & other.parts or self.parts & other.whole)


def words(classes: Classes) -> list[Words]:
    """What each class may be called; a WordNet id is also called by its words."""
    ids = classes.ids or ("",) * len(classes.names)
    return [_words(name, ident) for name, ident in zip(classes.names, ids, strict=True)]


def _words(name: str, ident: str) -> Words:
    every = [name, *([] if not ident or ident.isdecimal() else [ident])]
    for given in list(every):
        if match := _SYNSET.fullmatch(given):
            every += [match[1], *([match[2]] if match[2] else []), *_lemmas(match[1])]
    parts = [part for each in every if "," in each for part in each.split(",")]
    return Words(frozenset(map(plain, every)), frozenset(map(plain, parts)))


def _lemmas(synset: str) -> list[str]:
    """Returns WordNet's words for a synset from timm's table, as in `tench, Tinca tinca`; empty if it is unknown."""
    found = _synset_words().get(synset)
    return [found] if found else []


@cache
def _synset_words() -> dict[str, str]:
    known = package_file("timm", "data/_info/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lines = package_file("timm", "data/_info/imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
    every = dict(csv.reader(lines, delimiter="\t"))
    return {synset: every[synset] for synset in known}


def are_synsets(classes: Classes) -> bool:
    """Whether all classes have WordNet's ids."""
    return any(bool(names) and all(_SYNSET.fullmatch(name) for name in names) for names in (classes.ids, classes.names))
