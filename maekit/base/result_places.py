"""Where `maekit predict` puts the results of each image."""

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from maekit.errors import UserError

MAX_NAME_BYTES = 200  # file systems take 255; endings and the names of temporary files need some of them


class ResultPlaces:
    """Gives each image the files of its results, which mirror the images' folders, whatever names they share.

    Where the images' common parent is not given, it is known only when the last one came: where a later image lies
    outside that of those before, the results so far move one folder down.

    Args:
        folder: of the results; it is made.
        endings: what follows the image's name in each of its results, before `.png`.
        root: the common parent of all images; None where it is not known.
    """

    def __init__(self, folder: Path, endings: Sequence[str], root: Path | None = None) -> None:
        self.folder, self.endings = folder, endings
        self.root = None if root is None else root.absolute()
        self.stays = root is not None
        self.taken: dict[str, Path] = {}  # result files below the folder; by names as case-blind disks compare them
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, file: Path) -> list[Path]:
        """Returns one result file for each ending, in a folder that exists, for an image file.

        `a.jpg` and `a.png` of one folder become `a.png` and `a.png.png`. A name that would be too long is cut.

        Raises:
            UserError: the image lies in the results' folder, where a result could overwrite it.
        """
        parent = Path(os.path.normpath(file.absolute())).parent
        if parent.resolve().is_relative_to(self.folder.resolve()):
            raise UserError(
                f"{file}: lies in the folder of the results, which could overwrite it; choose another --output than "
                f"{self.folder}"
            )
        root = parent if self.root is None else Path(os.path.commonpath((self.root, parent)))
        if root != self.root:
            self._rise(root)
        below = parent.relative_to(root)
        for name in (file.stem, file.name, *(f"{file.name}-{number}" for number in range(2, len(self.taken) + 3))):
            results = [below / f"{_short(name)}{ending}.png" for ending in self.endings]
            if not any(str(result).casefold() in self.taken for result in results):
                break
        self.taken.update({str(result).casefold(): result for result in results})
        (self.folder / below).mkdir(parents=True, exist_ok=True)
        return [self.folder / result for result in results]

    def relative(self, file: Path, result: Path) -> str:
        """Returns the path of an image's result below the folder, with `/`; before the last image it may still move.

        Args:
            file: the image.
            result: one of those that `take` gave for it.
        """
        assert self.root is not None, "take comes first"
        below = Path(os.path.normpath(file.absolute())).parent.relative_to(self.root)
        return (below / result.name).as_posix()

    def _rise(self, root: Path) -> None:
        """Makes `root` the folder that the results mirror; those there are move down by what it lies above the old."""
        assert not self.stays, f"an image lies outside {self.root}, the common parent of all"
        before, self.root = self.root, root
        if before is None:
            return
        down = before.relative_to(root)
        # The deepest first: it may lie where another goes.
        old = sorted(self.taken.values(), key=lambda result: -len(result.parts))
        for result in old:
            target = self.folder / down / result
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / result).replace(target)
        self.taken = {str(down / result).casefold(): down / result for result in old}


def _short(name: str) -> str:
    """Returns a name of at most 200 bytes: a longer one is cut, and a hash of it added."""
    data = os.fsencode(name)
    if len(data) <= MAX_NAME_BYTES:
        return name
    return f"{data[: MAX_NAME_BYTES - 9].decode(errors='ignore')}-{blake2b(data, digest_size=4).hexdigest()}"
