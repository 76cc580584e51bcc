"""What a family of tasks declares of the files it writes, in `maekit/<family>/file_kinds.py` as `FAMILY`."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from maekit.weights.families.facts import Decoder, Head
from maekit.weights.families.fit import Attempt
from maekit.weights.families.purpose import Purpose

Tensors = Mapping[str, Tensor]
Rename = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of file: what it holds beside an encoder.

    Attributes:
        name: short, for reports and tests.
        words: the same for people.
        has: released names that every such file has beside an encoder's.
        lacks: released names that no such file has.
        rank: of several kinds whose names a file has, the one of the lowest rank is meant.
        adapted: what its ViT has more than a plain one, for people; such a file serves its own task only.
        adapted_names: a regular expression of the names of that.
        plain_tokens: whether its ViT has neither a class token nor a final norm.
    """

    name: str
    words: str
    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    rank: int = 0
    adapted: str = ""
    adapted_names: str = ""
    plain_tokens: bool = False


class Rows(NamedTuple):
    """Rows that a tensor has for each class, and rows beside them, such as the background's."""

    each: int = 1
    beside: int = 0


@dataclass(frozen=True)
class ClassHead:
    """A head that has rows for each class.

    Attributes:
        words: what it is called in messages.
        weight: the tensor that shows the number of classes, by the model's name.
        rows: of every tensor with rows for each class, by the start of its name in the model.
    """

    words: str
    weight: str
    rows: Mapping[str, Rows]


class Described(NamedTuple):
    """What a family finds in a file: tensors that its part lacks, a decoder, a classifier."""

    missing: tuple[str, ...] = ()
    decoder: Decoder | None = None
    classifier: Head | None = None


class Part(NamedTuple):
    """What a family is shown of a file, by released names."""

    tensors: Tensors
    kind: str
    metadata: Mapping[str, object]
    decoder_heads: int | None


def _keep_names(_names: Collection[str]) -> Rename:
    return lambda _name: None


@dataclass(frozen=True, kw_only=True)
class Family:
    """What one family of tasks declares of its files. Released names are those of facebookresearch/mae.

    Attributes:
        kinds: of file that it writes.
        starts: how released names of its heads begin.
        parameters: names of what its models have beside `backbone` and `head`.
        class_heads: its heads with rows for each class.
        tables: position tables in its heads, by the model's names; their first row is a class token's.
        pixels: beginnings of the names in its heads that have a row for each pixel and channel of a patch, row by row
            and channels fastest.
        of_patches: beginnings of the names in its heads that were fitted to whole patches, of fixed channels.
        released: given all names of a model, gives a function from a name, without `backbone.`, to the released one;
            None for a name that is not of this family.
        in_model: given a file's released names and a model's names, gives a function from a released name to the
            model's; None for a name that is not of this family or has no place in that model.
        describe: what of its own it finds in a file.
        problems: explains what keeps a head from being loaded, sentence by sentence.
        notes: what a load takes for granted because the file does not say it.
        purposes: what its files, and others for its sake, serve for.
    """

    kinds: tuple[FileKind, ...]
    starts: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    class_heads: tuple[ClassHead, ...] = ()
    tables: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()
    of_patches: tuple[str, ...] = ()
    released: Callable[[Collection[str]], Rename] = _keep_names
    in_model: Callable[[Collection[str], Collection[str]], Rename] = lambda names, _own: _keep_names(names)
    describe: Callable[[Part], Described] = lambda _part: Described()
    problems: Callable[[Attempt], Iterator[str]] = lambda _attempt: iter(())
    notes: Callable[[Attempt], Iterator[str]] = lambda _attempt: iter(())
    purposes: tuple[Purpose, ...] = ()
