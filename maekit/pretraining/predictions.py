"""The pictures and the table that `maekit predict` and `maekit reconstruct` write for masked autoencoders."""

import csv
import io
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maekit.base.result_places import ResultPlaces
from maekit.data.images.bands.pixels import size_of
from maekit.data.images.decode import upright
from maekit.data.images.transforms import EvalTransform
from maekit.pretraining.pictures import Row, as_seen, decibels, picture_of, row_of, sheet_of
from maekit.pretraining.reconstruction import Reconstructs
from maekit.system.files import atomic_write_text

SHEET = "contact_sheet.png"
TABLE = "reconstructions.csv"
MOST_ROWS = 16  # of the contact sheet, the first images: a picture of thousands opens nowhere


class Sample(NamedTuple):
    """An image on its way through the model: its pixels [C, S, S], and the seed of its mask."""

    pixels: Tensor
    seed: int


class ReconstructionWriter:
    """A picture `<name>_reconstruction.png` for each image; `contact_sheet.png` and `reconstructions.csv` of all.

    Where the model predicts normalised pixels, each patch is drawn with its own true mean and deviation, which are not
    predicted: colours of large areas are right then whatever the model is worth, and the PSNR is no measure between
    models of different targets.

    The pictures lie below the folder as the images do below their common parent. The sheet has the first 16 images. A
    row of the CSV is an image: its file, the PSNR in dB of its hidden pixels, the mask ratio, the numbers of its hidden
    patches (row by row from 0, separated by spaces).

    An image's mask depends on the seed, the pixels of the file and the number of patches; neither on its name nor on
    the other images.

    Args:
        folder: where the results go; no image may lie in it or below it.
        model: a masked autoencoder.
        input: arguments of its `EvalTransform`.
        seed: of the masks.
    """

    def __init__(self, folder: Path, model: Reconstructs, input: Mapping[str, Any], *, seed: int = 0) -> None:
        self.model, self.seed, self.transform = model, seed, EvalTransform(**input)
        self.places = ResultPlaces(folder, ("_reconstruction",))
        self.rows: list[Row] = []
        self.captions: list[str] = []
        self.files: list[Path] = []
        self.psnr: list[float] = []
        self.hidden: list[list[int]] = []

    def prepare(self, image: Image.Image | Tensor) -> Sample:
        """Returns the image's pixels, upright, and the seed of its mask; of bands they are upright already."""
        picture = image if isinstance(image, Tensor) else upright(image).convert("RGB")
        return Sample(self.transform(picture), _seed_of(picture, self.seed))

    def noise(self, samples: Sequence[Sample]) -> Tensor:
        """Returns noise [B, N] that hides patches of each image by its own seed."""
        images = torch.stack([sample.pixels for sample in samples])
        return self.model.seeded_noise(images, [sample.seed for sample in samples])

    def write(self, files: Sequence[Path], samples: Sequence[Sample], device: torch.device) -> None:
        """Reconstructs a batch, and writes the picture of each image.

        Raises:
            UserError: an image lies in the folder of the results.
        """
        pixels = torch.stack([sample.pixels for sample in samples]).to(device, non_blocking=True)
        outcome = as_seen(self.model.reconstruct(pixels, self.noise(samples)).on_host(), self.transform.normalise)
        for index, (file, psnr) in enumerate(zip(files, outcome.psnr.tolist(), strict=True)):
            (place,) = self.places.take(file)
            caption = f"{file.name}: {decibels(psnr)}"
            picture_of(outcome, index, caption).save(place)
            if len(self.rows) < MOST_ROWS:
                self.rows.append(row_of(outcome, index))
                self.captions.append(caption)
            self.files.append(file)
            self.psnr.append(psnr)
            self.hidden.append(outcome.masked_patches[index].nonzero().flatten().tolist())

    def close(self) -> Path:
        """Writes the contact sheet and the table, and returns the folder."""
        if self.rows:
            sheet_of(self.rows, self.captions).save(self.places.folder / SHEET)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["file", "psnr", "mask_ratio", "masked_patches"])
        for file, psnr, hidden in zip(self.files, self.psnr, self.hidden, strict=True):
            table.writerow([str(file), f"{psnr:.4f}", f"{self.model.mask_ratio:g}", " ".join(map(str, hidden))])
        atomic_write_text(self.places.folder / TABLE, text.getvalue())
        return self.places.folder


def _seed_of(image: Image.Image | Tensor, seed: int) -> int:
    """A number of 63 bits from a seed and the pixels of an RGB image, or of [H, W, C]."""
    size = size_of(image)
    digest = blake2b(f"{seed} {(size.width, size.height)}".encode(), digest_size=8)
    digest.update(image.numpy().tobytes() if isinstance(image, Tensor) else image.tobytes())
    return int.from_bytes(digest.digest(), "big") >> 1
