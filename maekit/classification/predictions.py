"""The CSV that `maekit predict` writes for classifiers."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from PIL.Image import Image
from torch import Tensor


class ClassTable:
    """A CSV with one row an image: file, the best classes and their probabilities.

    Args:
        folder: where `predictions.csv` is written.
        class_names: one name a class, in label order.
        transform: RGB image to [3, H, W].
        probabilities: images [B, 3, H, W] to probabilities [B, C].
        top: how many classes a row names.
    """

    writes_images: ClassVar[bool] = False  # so the output folder may be inside the folder of images

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        transform: Callable[[Image], Tensor],
        probabilities: Callable[[Tensor], Tensor],
        top: int = 5,
    ) -> None:
        self.path = folder / "predictions.csv"
        self.class_names = class_names
        self.transform = transform
        self.probabilities = probabilities
        self.top = min(top, len(class_names))
        folder.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        self.table = csv.writer(self.file)
        self.table.writerow(
            ["file", *(f"{what}_{i + 1}" for i in range(self.top) for what in ("class", "probability"))]
        )

    def prepare(self, image: Image) -> Tensor:
        """Returns the tensor [3, H, W] that the model is given for an image."""
        return self.transform(image)

    def write(self, files: Sequence[Path], samples: Sequence[Tensor], device: torch.device) -> None:
        """Appends a row for each file."""
        images = torch.stack(list(samples)).to(device, non_blocking=True)
        values, classes = self.probabilities(images).cpu().topk(self.top)
        for file, row, labels in zip(files, values.tolist(), classes.tolist(), strict=True):
            cells = [
                cell for p, label in zip(row, labels, strict=True) for cell in (self.class_names[label], f"{p:.6f}")
            ]
            self.table.writerow([str(file), *cells])

    def close(self) -> Path:
        """Closes the file and returns its path."""
        self.file.close()
        return self.path
