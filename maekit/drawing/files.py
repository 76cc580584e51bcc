"""Reads image files as people see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from maekit.data.images.decode import UPRIGHT
from maekit.data.images.reading_of import reading_of
from maekit.data.images.transforms import normalise_of


@dataclass(frozen=True)
class Seen:
    """Reads files for pictures of what a model was given: RGB as it is, of bands those that are shown.

    Attributes:
        input: the arguments of the model's `EvalTransform`.
    """

    input: Mapping[str, Any]

    def __call__(self, path: Path) -> Image.Image:
        """Returns one file as RGB, upright.

        Raises:
            UserError: it cannot be read.
        """
        if not self.input.get("bands"):
            return UPRIGHT(path)
        return normalise_of(self.input).picture(reading_of(self.input)(path))
