"""What tells one data set from another: its folder, its classes, and a fingerprint of what it lists."""

from collections.abc import Mapping
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


@dataclass(frozen=True)
class DataIdentity:
    """What a run records of its data.

    Attributes:
        folder: where the data was found.
        classes: what tells the classes of two data sets apart, in label order; see `DataSpec.class_ids`.
        splits: `train` and `val`.
    """

    folder: Path
    classes: tuple[str, ...]
    splits: Mapping[str, Split]

    def plain(self) -> dict[str, Any]:
        """Returns plain values for JSON and checkpoints: folder, classes, and for each split images and fingerprint."""
        splits = {name: {"images": part.images, "fingerprint": part.fingerprint} for name, part in self.splits.items()}
        return {"folder": str(self.folder), "classes": list(self.classes), "splits": splits}


def fingerprint(*parts: bytes | np.ndarray) -> str:
    """Returns a hash of arrays and bytes, which does not depend on the machine's byte order."""
    digest = blake2b(digest_size=8)
    for part in parts:
        content = (
            part if isinstance(part, bytes) else np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes()
        )
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
