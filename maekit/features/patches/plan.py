"""How many patches the images of a folder have, and whether the disk has room for their features."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from maekit.data.images.reading_of import AnyReading
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.features.images import ImageFolder, ImageReader
from maekit.features.patches.view import WholeView, grid_of, size_in_header
from maekit.system.files import atomic_write
from maekit.system.size import HeightWidth

GIB = 2**30


@dataclass(frozen=True, eq=False)
class PatchPlan:
    """The patches of each image of a folder.

    Attributes:
        sizes: [N, 2] int64, height and width in pixels; 0 of an image whose header cannot be read.
        grids: [N, 2] int64, patches (h, w), likewise.
    """

    sizes: np.ndarray
    grids: np.ndarray

    def grid(self, index: int) -> HeightWidth:
        """Returns the patches (h, w) of one image."""
        return HeightWidth(*self.grids[index].tolist())

    def counts(self) -> np.ndarray:
        """Returns the number of patches of each image, [N] int64."""
        counts: np.ndarray = self.grids.prod(axis=1)
        return counts

    def fingerprint(self) -> str:
        """Returns a hash, 24 hex digits, of sizes and grids: with an image of another shape rows lie elsewhere."""
        return blake2b(self.sizes.tobytes() + self.grids.tobytes(), digest_size=12).hexdigest()

    def write(self, output: Path, skipped: Sequence[tuple[int, str]]) -> None:
        """Writes grids.npy and sizes.npy, [N, 2] int64, of all images but those that were skipped."""
        kept = np.setdiff1d(np.arange(len(self.grids)), [index for index, _ in skipped])
        for name, numbers in (("grids.npy", self.grids), ("sizes.npy", self.sizes)):
            with atomic_write(output / name) as file:
                np.save(file, numbers[kept])


class WholeReader(ImageReader):
    """The whole images of a folder as tensors of their patches; see `ImageReader`.

    Args:
        folder: the images.
        transform: of the weights.
        reading: how files are read.
        view: whole image and grid to [C, h * P, w * P].
        plan: the patches of each image.
    """

    def __init__(
        self, folder: ImageFolder, transform: EvalTransform, reading: AnyReading, view: WholeView, plan: PatchPlan
    ) -> None:
        super().__init__(folder, transform, reading)
        self.view, self.plan = view, plan

    def prepare(self, image: Image.Image | Tensor, index: int) -> Tensor:
        """Returns [C, h * P, w * P] of an image as read."""
        grid = self.plan.grid(index)
        if not min(grid):
            raise UserError("its size cannot be read from its header; save it anew")
        return self.view(image, grid)


def plan_patches(images: ImageFolder, reading: AnyReading, size: int | HeightWidth, patch_size: int) -> PatchPlan:
    """Reads the header of each image of a folder; the arguments are those of `grid_of`."""

    def look(name: str) -> tuple[HeightWidth, HeightWidth]:
        found = size_in_header(f"{images.root}/{name}", reading)
        return (HeightWidth(0, 0),) * 2 if found is None else (found, grid_of(found, size, patch_size))

    both = np.array([look(name) for name in images.names], dtype=np.int64)
    return PatchPlan(both[:, 0], both[:, 1])


def require_room(output: Path, needed: int, there: int, half: bool) -> None:
    """Refuses features that do not fit on the disk.

    Args:
        output: the folder of the features, which may not exist yet.
        needed: bytes of all features.
        there: bytes of those that are written already.
        half: whether they are of float16.

    Raises:
        UserError: there is less room; it says how much is needed.
    """
    folder = next(path for path in (output.absolute(), *output.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        less = "" if half else ", store half of it with --half"
        raise UserError(
            f"{output}: the features need {gib(needed - there)}, the disk has {gib(free)} free; make room or choose "
            f"another --output{less}, or give a smaller --image_size"
        )


def gib(size: int) -> str:
    """Returns bytes in GiB or MiB, as text."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:,.1f} MiB"
