"""What tells one data set from another: its folder, its classes, and a fingerprint of what it lists."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        images: number of images.
        fingerprint: hash of the listing: relative paths and labels. A moved folder keeps it.
    """

    images: int
    fingerprint: str

    def with_mark(self, more: np.ndarray) -> "Split":
        """Returns the split with a fingerprint of more than its listing, such as weights."""
        return Split(self.images, fingerprint(self.fingerprint.encode(), more))


@dataclass(frozen=True)
class DataIdentity:
    """What a run records of its data.

    Attributes:
        folder: where the data was found.
        classes: what tells the classes of two data sets apart, in label order; see `DataSpec.class_ids`.
        splits: `train` and `val`.
        whole: hash of the images of both splits together, which all folds of a list have in common; empty where the
            splits are no folds.
    """

    folder: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    whole: str = ""

    def plain(self) -> dict[str, Any]:
        """Returns plain values for JSON and checkpoints: folder, classes, counts, fingerprints, whole."""
        splits = {name: {"images": part.images, "fingerprint": part.fingerprint} for name, part in self.splits.items()}
        whole = {"whole": self.whole} if self.whole else {}
        return {"folder": str(self.folder), "classes": list(self.classes), "splits": splits, **whole}


def whole_fingerprint(images: Iterable[str]) -> str:
    """Returns a hash of the images of both splits together, whatever the split and the place of each is.

    Args:
        images: a text for each image, with what tells it from another image or label.
    """
    return fingerprint("\n".join(sorted(images)).encode(errors="surrogateescape"))


def fingerprint(*parts: bytes | np.ndarray) -> str:
    """Returns a hash of arrays and bytes, which does not depend on the machine's byte order."""
    digest = blake2b(digest_size=8)
    for part in parts:
        content = (
            part if isinstance(part, bytes) else np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes()
        )
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
