"""Images that are in both splits, which makes a validation look better than it is, and those that all folds share."""

import os
from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from maekit.detection.data.coco.file import CocoFile

MAX_COMPARED = 1_000


class Shared(NamedTuple):
    """Counts of validation images that are training images too.

    Attributes:
        same: that are the same file.
        copies: that are a copy with the same file name in another folder, of the pairs compared.
        first: path of one such image.
        of: all validation images.
    """

    same: int
    copies: int
    first: str
    of: int

    def line(self) -> str | None:
        """Returns a line for the user, None if no image is in both splits."""
        if not self.same + self.copies:
            return None
        copied = f" ({self.copies:,} as copies in another folder)" if self.copies else ""
        count = self.same + self.copies
        return f"{count:,} of {self.of:,} validation images are training images too{copied}, such as {self.first}"


def shared_images(train: CocoFile, val: CocoFile) -> Shared:
    """Compares the images of two splits by path; files of one name in different folders by size and content too.

    At most 1,000 such pairs are compared, evenly spread.
    """
    training: dict[str, set[str]] = defaultdict(set)
    for index in range(len(train)):
        path = os.path.normpath(train.image(index))
        training[path.rpartition("/")[2]].add(path)
    same, pairs = [], []
    for index in range(len(val)):
        path = os.path.normpath(val.image(index))
        others = training.get(path.rpartition("/")[2], set())
        if path in others:
            same.append(path)
        elif others:
            pairs.append((path, min(others)))
    step = max(1, -(-len(pairs) // MAX_COMPARED))
    copies = [mine for mine, theirs in pairs[::step] if _equal(mine, theirs)]
    return Shared(len(same), len(copies), next(iter([*same, *copies]), ""), len(val))


def image_lines(file: CocoFile) -> Iterator[str]:
    """Returns a text for each image with its name and the classes and boxes of its annotations."""
    objects = file.objects
    for index, name in enumerate(file.names):
        places = file.order[file.starts[index] : file.starts[index + 1]]
        yield f"{name} {objects.category_ids[places].tolist()} {objects.boxes[places].tolist()}"


def _equal(mine: str, theirs: str) -> bool:
    try:
        return Path(mine).stat().st_size == Path(theirs).stat().st_size and _digest(mine) == _digest(theirs)
    except OSError:
        return False


def _digest(path: str) -> bytes:
    return blake2b(Path(path).read_bytes(), digest_size=16).digest()
