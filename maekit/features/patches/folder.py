"""Reads the features of the patches of whole images that `maekit embed --patches` wrote."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.features.files.folder import open_array, open_lines, read_metadata
from maekit.features.metadata import CompleteMetadata
from maekit.system.size import HeightWidth


@dataclass(frozen=True, eq=False)
class PatchFolder:
    """The features of the patches of a folder of images, memory-mapped.

    Attributes:
        path: the folder.
        metadata: its features.json.
        features: [R, D] float32 or float16, the patches of the first image row by row, then those of the next.
        files: the relative path of each image.
        grids: [N, 2] int64, patches (h, w) of each image.
        sizes: [N, 2] int64, its height and width in pixels.
        starts: [N + 1] int64, the row where each image begins.
    """

    path: Path
    metadata: CompleteMetadata
    features: Tensor
    files: list[str]
    grids: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray

    def patches(self, image: int) -> Tensor:
        """Returns the features [h * w, D] of one image."""
        return self.features[self.starts[image] : self.starts[image + 1]]

    def grid(self, image: int) -> HeightWidth:
        """Returns the patches (h, w) of one image."""
        return HeightWidth(*self.grids[image].tolist())

    def size(self, image: int) -> HeightWidth:
        """Returns the height and width of one image in pixels."""
        return HeightWidth(*self.sizes[image].tolist())

    def image(self, index: int, moved_to: Path | None = None) -> Path:
        """Returns the path of an image in the embedded folder, or in `moved_to` if that has moved."""
        return (moved_to or Path(self.metadata["images"])) / self.files[index]


def holds_patches(path: Path) -> bool:
    """Returns whether a folder holds features of the patches of whole images.

    Raises:
        UserError: it holds no features, or they are not finished.
    """
    return "patch_view" in read_metadata(path)


def read_patches(path: Path) -> PatchFolder:
    """Opens features of the patches of whole images; whether they are finite is seen when they are used.

    Raises:
        UserError: there are none, they are incomplete, of another kind, or a file is damaged.
    """
    metadata = read_metadata(path)
    if "patch_view" not in metadata:
        raise UserError(f"{path} holds other features than those of whole images' patches; embed with --patches")
    count, rows = metadata["num_rows"], metadata["num_patches"]
    grids, sizes = (np.array(open_array(path, name, (count, 2))) for name in ("grids.npy", "sizes.npy"))
    starts = np.concatenate([[0], grids.prod(axis=1).cumsum()])
    if starts[-1] != rows:
        raise UserError(
            f"{path / 'grids.npy'} has {starts[-1]} patches, expected {rows}; remove {path} and embed again"
        )
    features = torch.from_numpy(open_array(path, "features.npy", (rows, *metadata["shape"])))
    return PatchFolder(path, metadata, features, open_lines(path, "files.txt", count), grids, sizes, starts)
