"""Reads a folder of features that `maekit embed` wrote."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.features.files.listings import read_lines
from maekit.features.metadata import CompleteMetadata

_ROWS = 16384  # at a time
_NEEDED = {"complete", "format", "pooling", "shape", "num_classes", "images", "weights", "weights_hash"}


@dataclass(frozen=True, eq=False)
class FeatureFolder:
    """The features of a folder of images, memory-mapped.

    Attributes:
        path: the folder.
        metadata: its features.json.
        features: [N, D] float32 or float16, all finite.
        files: the relative path of each row's image.
        labels: [N] int64; None without class folders.
        classes: their names, in label order.
    """

    path: Path
    metadata: CompleteMetadata
    features: Tensor
    files: list[str]
    labels: Tensor | None
    classes: tuple[str, ...]

    def image(self, row: int, moved_to: Path | None = None) -> Path:
        """Returns the path of a row's image in the embedded folder, or in `moved_to` if that has moved."""
        return (moved_to or Path(self.metadata["images"])) / self.files[row]

    def unit(self) -> np.ndarray:
        """Returns a copy [N, D] float32 in memory with rows of length one; rows of zeros stay zeros."""
        rows: np.ndarray = torch.nn.functional.normalize(self.features.float(), dim=1).numpy()
        return rows


def read_features(path: Path) -> FeatureFolder:
    """Opens features that are one vector an image.

    Raises:
        UserError: there are none, they are incomplete, of patches, in Parquet, not finite, or a file is damaged.
    """
    metadata = read_metadata(path)
    if metadata["format"] != "npy":
        raise UserError(f"{path} holds features as Parquet, expected .npy; embed with --format npy")
    if metadata["pooling"] == "patches":
        raise UserError(
            f"{path} holds the features of patches, expected one an image; embed with --pooling class "
            "(`maekit knn --task` and `maekit pca` take those of --patches)"
        )
    features = open_array(path, "features.npy", (metadata["num_rows"], *metadata["shape"]))
    for first in range(0, len(features), _ROWS):
        good = np.isfinite(features[first : first + _ROWS]).all(axis=1)
        if not good.all():
            row = first + int(np.flatnonzero(~good)[0])
            raise UserError(
                f"{path / 'features.npy'}: row {row} has NaN or infinite numbers; remove {path}, embed again"
            )
    files = open_lines(path, "files.txt", len(features))
    if not metadata["num_classes"]:
        return FeatureFolder(path, metadata, torch.from_numpy(features), files, None, ())
    classes = open_lines(path, "classes.txt", metadata["num_classes"])
    labels = np.array(open_array(path, "labels.npy", (len(features),)))
    if not ((labels >= 0) & (labels < len(classes))).all():
        raise UserError(f"{path / 'labels.npy'}: labels outside 0 to {len(classes) - 1}; remove {path}, embed again")
    return FeatureFolder(path, metadata, torch.from_numpy(features), files, torch.from_numpy(labels), tuple(classes))


def read_metadata(path: Path) -> CompleteMetadata:
    """Returns what a folder's features.json says.

    Raises:
        UserError: there is none, it is damaged, or the features are not finished.
    """
    file = path / "features.json"
    try:
        metadata: CompleteMetadata | None = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        what = "is a file, expected a folder" if path.is_file() else "has no features.json, expected a folder"
        raise UserError(f"{path} {what} of features; make it with `maekit embed FOLDER --output {path}`") from None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or not metadata.keys() >= _NEEDED:
        raise UserError(f"{file} is damaged or not of `maekit embed`; embed again")
    if not metadata["complete"]:
        raise UserError(f"{path}: its features are not finished; give the same `maekit embed` command again")
    return metadata


def open_array(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Maps an array of a folder of features into memory; writing to it does not change the file.

    Raises:
        UserError: it is missing, damaged or of another shape.
    """
    try:
        array: np.ndarray = np.load(path / name, mmap_mode="c")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path / name} is missing, cut short or damaged; remove {path} and embed again") from error
    if array.shape != shape:
        raise UserError(f"{path / name} is {list(array.shape)}, expected {list(shape)}; remove {path} and embed again")
    return array


def open_lines(path: Path, name: str, count: int) -> list[str]:
    """Returns the lines of a list in a folder of features.

    Raises:
        UserError: it cannot be read, or has another number of lines.
    """
    try:
        lines = read_lines(path / name)
    except OSError as error:
        raise UserError(f"{path / name} cannot be read ({error.strerror}); remove {path} and embed again") from None
    if len(lines) != count:
        raise UserError(f"{path / name} has {len(lines)} lines, expected {count}; remove {path} and embed again")
    return lines
