"""What is reconstructed of an image, and what `maekit predict` and `maekit reconstruct` write of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.base.prediction_table import PredictionTable, number
from maekit.base.result_places import ResultPlaces
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.decode import upright
from maekit.data.images.transforms import EvalTransform
from maekit.pretraining.pictures import LARGE_CELL, Row, as_seen, decibels, picture_of, row_of, sheet_of
from maekit.pretraining.reconstruction import Reconstruction, Reconstructs

SHEET = "contact_sheet.png"
COLUMNS = ("file", "psnr", "mask_ratio", "masked_patches")
MOST_ROWS = 16  # of the contact sheet, the first images: a picture of thousands opens nowhere


@dataclass(frozen=True, eq=False)
class ReconstructedImage:
    """What a masked autoencoder makes of one image: a `Reconstruction` of B = 1 on the CPU, as pictures show it."""

    outcome: Reconstruction

    @property
    def psnr(self) -> float:
        """Of the hidden pixels, in dB."""
        return float(self.outcome.psnr[0])

    @property
    def hidden(self) -> list[int]:
        """The numbers of the hidden patches, row by row from 0."""
        numbers: list[int] = self.outcome.masked_patches[0].nonzero().flatten().tolist()
        return numbers


class Sample(NamedTuple):
    """An image on its way through the model: its pixels [C, S, S], the seed of its mask, and a small picture."""

    pixels: Tensor
    seed: int
    picture: Image.Image


class ReconstructionPredictor:
    """Masks images, and predicts what is hidden.

    An image's mask depends on the seed, the pixels of the file and the number of patches; neither on its name nor on
    the other images.

    Args:
        model: a masked autoencoder.
        input: arguments of its `EvalTransform`.
        seed: of the masks.
    """

    def __init__(self, model: Reconstructs, input: Mapping[str, Any], *, seed: int = 0) -> None:
        self.model, self.seed, self.transform = model, seed, EvalTransform(**input)

    def prepare(self, image: Image.Image | Tensor) -> Sample:
        """Returns the image's pixels, upright, and the seed of its mask; of bands they are upright already."""
        given = image if isinstance(image, Tensor) else upright(image).convert("RGB")
        pixels, seed = self.transform(given), _seed_of(given, self.seed)
        picture = self.transform.normalise.picture(given)
        picture.thumbnail((LARGE_CELL, LARGE_CELL))
        return Sample(pixels, seed, picture)

    def noise(self, samples: Sequence[Sample]) -> Tensor:
        """Returns noise [B, N] that hides patches of each image by its own seed."""
        images = torch.stack([sample.pixels for sample in samples])
        return self.model.seeded_noise(images, [sample.seed for sample in samples])

    def predict(self, samples: Sequence[Sample], device: torch.device) -> list[ReconstructedImage]:
        """Returns the reconstruction of each image."""
        pixels = torch.stack([sample.pixels for sample in samples]).to(device, non_blocking=True)
        outcome = self.model.reconstruct(pixels, self.noise(samples)).on_host()
        seen = as_seen(outcome, self.transform.normalise)
        return [ReconstructedImage(seen.image(index)) for index in range(len(samples))]


class ReconstructionWriter:
    """A picture `<name>_reconstruction.png` for each image; `contact_sheet.png`, a CSV and a JSON of all.

    Where the model predicts normalised pixels, each patch is drawn with its own true mean and deviation, which are not
    predicted: colours of large areas are right then whatever the model is worth, and the PSNR is no measure between
    models of different targets.

    The pictures lie below the folder as the images do below their common parent. The sheet has the first 16 images. A
    row of the CSV is an image: its file, the PSNR in dB of its hidden pixels, the mask ratio, the numbers of its hidden
    patches (row by row from 0, separated by spaces).

    Args:
        folder: where the results go; no image may lie in it or below it.
        mask_ratio: share of the patches that are hidden.
        options: what else is asked.
        name: of CSV and JSON.
    """

    def __init__(self, folder: Path, mask_ratio: float, options: PredictOptions, *, name: str = "predictions") -> None:
        options.refuse("hidden pixels", "top", "score", "crops")
        self.mask_ratio, self.writes_images = mask_ratio, options.pictures
        self.places = ResultPlaces(folder, ("_reconstruction",), options.root)
        self.table = PredictionTable(folder, COLUMNS, {"kind": "reconstructions", "mask_ratio": mask_ratio}, name=name)
        self.rows: list[Row] = []
        self.captions: list[str] = []
        self.files: list[Path] = []
        self.psnr: list[float] = []
        self.hidden: list[list[int]] = []

    def write(self, file: Path, picture: Image.Image, prediction: ReconstructedImage) -> None:
        """Draws an image: original, masked, reconstructed; its own picture is not shown, since the model crops it.

        Raises:
            UserError: the image lies in the folder of the results.
        """
        (place,) = self.places.take(file)
        caption = f"{file.name}: {decibels(prediction.psnr)}"
        if self.writes_images:
            picture_of(prediction.outcome, 0, caption).save(place)
        if self.writes_images and len(self.rows) < MOST_ROWS:
            self.rows.append(row_of(prediction.outcome, 0))
            self.captions.append(caption)
        self._list(file, prediction)
        self.files.append(file)
        self.psnr.append(prediction.psnr)
        self.hidden.append(prediction.hidden)

    def close(self) -> Path:
        """Writes the contact sheet, finishes the tables, and returns the folder."""
        if self.rows:
            sheet_of(self.rows, self.captions).save(self.places.folder / SHEET)
        self.table.close()
        return self.places.folder

    def _list(self, file: Path, prediction: ReconstructedImage) -> None:
        """Adds an image to the tables."""
        psnr, hidden = prediction.psnr, prediction.hidden
        row = (str(file), f"{psnr:.4f}", f"{self.mask_ratio:g}", " ".join(map(str, hidden)))
        image = {"file": str(file), "psnr": number(psnr, 4), "mask_ratio": self.mask_ratio, "masked_patches": hidden}
        self.table.add([row], image)


def _seed_of(image: Image.Image | Tensor, seed: int) -> int:
    """A number of 63 bits from a seed and the pixels of an RGB image, or of [H, W, C]."""
    size = size_of(image)
    digest = blake2b(f"{seed} {(size.width, size.height)}".encode(), digest_size=8)
    digest.update(image.numpy().tobytes() if isinstance(image, Tensor) else image.tobytes())
    return int.from_bytes(digest.digest(), "big") >> 1
