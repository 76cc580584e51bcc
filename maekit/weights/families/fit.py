"""A file's tensors beside a model's, as the families are asked about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

ANEW = "--model.new_head true"


@dataclass(frozen=True)
class Fit:
    """A file's tensors beside a model's, both by the model's names without `backbone.`.

    Attributes:
        own: the model's tensors.
        found: the file's.
        in_file: the released name of each of them, or the file's own.
    """

    own: Mapping[str, Tensor]
    found: Mapping[str, Tensor]
    in_file: Mapping[str, str]

    @property
    def shared(self) -> list[str]:
        """Names that model and file have, in the model's order."""
        return [name for name in self.own if name in self.found]

    @property
    def new(self) -> list[str]:
        """Names of the model that are not in the file."""
        return [name for name in self.own if name not in self.found]

    @property
    def unused(self) -> list[str]:
        """Names of the file that are not in the model."""
        return [name for name in self.found if name not in self.own]


@dataclass(frozen=True)
class Attempt:
    """A load that is being checked.

    Attributes:
        model: what is loaded into; `head` is its head.
        fit: its tensors beside the file's.
        metadata: what the file says beside its tensors.
        decoder_heads: attention heads of the file's decoder; None where the file does not say them.
        missing: names of the model that should be in the file and are not.
        renewable: whether the caller would accept a new head.
    """

    model: nn.Module
    fit: Fit
    metadata: Mapping[str, object]
    decoder_heads: int | None
    missing: Sequence[str] = ()
    renewable: bool = False


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the fnmatch patterns fits."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
