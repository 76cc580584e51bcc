"""The CSV that `maekit predict` writes for classifiers, and for models of other targets of an image."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor


class ImageTable(ABC):
    """A CSV with one row an image: its file, and what a subclass makes of it.

    Args:
        folder: where `predictions.csv` is written.
        transform: image as read to [channels, H, W].
        columns: heads of the columns after `file`.
    """

    writes_images: ClassVar[bool] = False  # so the output folder may be inside the folder of images

    def __init__(self, folder: Path, transform: Callable[[Any], Tensor], columns: Sequence[str]) -> None:
        self.path = folder / "predictions.csv"
        self.transform = transform
        folder.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        self.table = csv.writer(self.file)
        self.table.writerow(["file", *columns])

    @abstractmethod
    def rows(self, images: Tensor) -> list[list[str]]:
        """Returns the cells after the file, one row an image, of images [B, channels, H, W]."""

    def prepare(self, image: Any) -> Tensor:
        """Returns the tensor [channels, H, W] that the model is given for an image."""
        return self.transform(image)

    def write(self, files: Sequence[Path], samples: Sequence[Tensor], device: torch.device) -> None:
        """Appends a row for each file."""
        images = torch.stack(list(samples)).to(device, non_blocking=True)
        for file, cells in zip(files, self.rows(images), strict=True):
            self.table.writerow([str(file), *cells])

    def close(self) -> Path:
        """Closes the file and returns its path."""
        self.file.close()
        return self.path


class ClassTable(ImageTable):
    """A CSV with one row an image: file, the best classes and their probabilities.

    Args:
        folder: where `predictions.csv` is written.
        class_names: one name a class, in label order.
        transform: image as read to [channels, H, W].
        probabilities: images [B, channels, H, W] to probabilities [B, C].
        top: how many classes a row names.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        transform: Callable[[Any], Tensor],
        probabilities: Callable[[Tensor], Tensor],
        top: int = 5,
    ) -> None:
        self.class_names, self.probabilities = class_names, probabilities
        self.top = min(top, len(class_names))
        heads = [f"{what}_{i + 1}" for i in range(self.top) for what in ("class", "probability")]
        super().__init__(folder, transform, heads)

    def rows(self, images: Tensor) -> list[list[str]]:
        """Returns the names and probabilities of the best classes in turn."""
        values, classes = self.probabilities(images).cpu().topk(self.top)
        pairs = zip(values.tolist(), classes.tolist(), strict=True)
        return [
            [cell for p, label in zip(row, labels, strict=True) for cell in (self.class_names[label], f"{p:.6f}")]
            for row, labels in pairs
        ]
