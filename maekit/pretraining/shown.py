"""What is shown of a masked autoencoder: the PSNR of an image, its reconstruction."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from PIL.Image import Image
from torch import Tensor, nn

from maekit.base.data import RunData
from maekit.base.predict_options import PredictOptions
from maekit.base.shown import Judged, Shown, evenly_spread
from maekit.base.spec import Draw
from maekit.data.images.batch import ImageBatch
from maekit.data.images.transforms import normalise_of
from maekit.pretraining.masking import Masking
from maekit.pretraining.pictures import as_seen, contact_sheet, training_sheet
from maekit.pretraining.predictions import ReconstructionPredictor, ReconstructionWriter
from maekit.pretraining.reconstruction import Reconstructs

PICTURES = 8
TRAINING_IMAGES = 6


class EvaluatedReconstructs(Reconstructs, Protocol):
    """A masked autoencoder whose reconstructions are measured, too."""

    def hidden_loss_and_psnr(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Returns of each image the loss of its hidden patches and their PSNR in dB, both [B]."""

    def draw_masking(self, images: Tensor, noise: Tensor | None = None) -> Masking:
        """Chooses the hidden patches of images [B, C, H, W]: by noise [B, N], or at random."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Returns the parameters, which are on the model's device."""


class ShownReconstructions(Shown):
    """The PSNR of each image's hidden patches, and pictures of original, masked and reconstructed images."""

    score: ClassVar[tuple[str, Literal["low", "high"]] | None] = ("PSNR", "high")

    def __init__(self, model: EvaluatedReconstructs) -> None:
        self.model = model

    def judge(self, batch: ImageBatch) -> list[Judged]:
        """Returns the PSNR of each image's hidden patches, in dB."""
        rows = torch.stack(self.model.hidden_loss_and_psnr(batch), dim=1).tolist()
        return [Judged(quality, f"PSNR {quality:.1f} dB, loss {loss:.3f}") for loss, quality in rows]

    def picture(self, data: RunData) -> Image:
        """Returns eight validation images, masked and reconstructed."""
        count = len(data.val_dataset())
        return self._sheet(data, range(0, count, max(count // PICTURES, 1))[:PICTURES])

    def training_picture(self, data: RunData, seed: int) -> Image:
        """Returns six augmented training images, and beside each what is left of it under a mask as training draws."""
        images, normalise = data.train_dataset(seed), normalise_of(data.input_transform())
        places = evenly_spread(len(images), TRAINING_IMAGES)
        batch = torch.stack([images[Draw(0, index)][0] for index in places])
        masked = self.model.draw_masking(batch, self.model.seeded_noise(batch, places)).masked
        return training_sheet([normalise.undo(image) for image in batch], masked)

    def example_picture(self, data: RunData, index: int) -> Image:
        """Returns one image, masked and reconstructed."""
        return self._sheet(data, [index])

    def _sheet(self, data: RunData, indices: Sequence[int]) -> Image:
        images, device = data.val_dataset(), next(self.model.parameters()).device
        batch = torch.stack([images[Draw(0, index)][0] for index in indices]).to(device, non_blocking=True)
        outcome = self.model.reconstruct(batch, self.model.seeded_noise(batch, indices)).on_host()
        return contact_sheet(as_seen(outcome, normalise_of(data.input_transform())))

    def predictor(self, input: Mapping[str, Any]) -> ReconstructionPredictor:
        """Returns what masks images and predicts what is hidden."""
        return ReconstructionPredictor(self.model, input)

    def prediction_writer(self, folder: Path, options: PredictOptions) -> ReconstructionWriter:
        """Returns what writes a picture of each image: original, masked, reconstructed."""
        return ReconstructionWriter(folder, self.model.mask_ratio, options)
