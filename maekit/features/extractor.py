"""Computes the features of images: the tokens after a block, through the final norm, pooled."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from maekit.backbone.protocol import Backbone
from maekit.data.images.reading_of import AnyReading, reading_of
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.features.metadata import Metadata, Method, Pooling, Precision
from maekit.features.patches.view import WholeView
from maekit.features.source import Source, find_source, fingerprint
from maekit.system.hardware import choose_device
from maekit.system.size import HeightWidth


@dataclass(frozen=True, eq=False)
class Extractor:
    """Turns images into features.

    Attributes:
        source: the weights.
        vit: the backbone on its device, in evaluation mode.
        transform: image as read to [C, S, S].
        pooling: the class token, the mean of the patch tokens, or all patch tokens.
        block: the block (from 0) whose tokens are taken.
        precision: of the backbone's arithmetic; features are float32.
        device: of the backbone.
        whole: the size of whole images, as `grid_of` takes it, all of whose patches are features; None for the
            transform's square.
    """

    source: Source
    vit: Backbone
    transform: EvalTransform
    pooling: Pooling
    block: int
    precision: Precision
    device: torch.device
    whole: int | HeightWidth | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (D,) of an image or of one of its patches, or (h*w, D) of the patches of a square."""
        height, width = self.vit.grid
        square = self.pooling == "patches" and self.whole is None
        return (height * width, self.vit.embed_dim) if square else (self.vit.embed_dim,)

    @property
    def reading(self) -> AnyReading:
        """How image files are read: upright, and with the transform's white."""
        return reading_of(self.transform.describe())

    def __call__(self, images: Tensor) -> Tensor:
        """Returns features [B, D] or [B, h*w, D], float32 on the CPU, for images [B, C, H, W]."""
        half = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            tokens = self.vit(images.to(self.device, non_blocking=True), num_blocks=self.block + 1).tokens.float()
            if self.pooling == "patches":
                return self.vit.patch_tokens(tokens).cpu()
            return self.vit.pool(tokens, self.pooling).cpu()

    def try_grids(self, grids: np.ndarray) -> None:
        """Tries an empty image of the first of these grids, [N, 2], that is not the backbone's own.

        Raises:
            UserError: its positions are for its own grid alone.
        """
        other = next((grid for grid in grids.tolist() if min(grid) and tuple(grid) != tuple(self.vit.grid)), None)
        if other is None:
            return
        sides = [side * self.vit.patch_size for side in other]
        try:
            self(torch.zeros(1, self.vit.channels, *sides))
        except UserError as error:
            own = "x".join(str(side * self.vit.patch_size) for side in self.vit.grid)
            raise UserError(f"{error}: --image_size {own} squeezes every image into it") from error

    def describe(self) -> Method:
        """Returns plain values that decide what the features are."""
        method: Method = {
            "weights_hash": fingerprint(self.vit),
            "pooling": self.pooling,
            "block": self.block,
            "final_norm": self.vit.has_final_norm,
            "precision": self.precision,
            "transform": self.transform.describe(),
        }
        if self.whole is not None:
            method["patch_view"] = [self.whole] if isinstance(self.whole, int) else list(self.whole)
        return method

    @property
    def view(self) -> WholeView:
        """What turns a whole image into pixels of a number of patches."""
        return WholeView(self.transform.describe(), self.vit.patch_size)


def make_extractor(
    source: Source,
    *,
    pooling: Pooling | None = None,
    block: int = -1,
    image_size: int | None = None,
    crop_fraction: float | None = None,
    precision: Precision = "fp32",
    device: str = "auto",
    whole: int | HeightWidth | None = None,
) -> Extractor:
    """Loads weights for features.

    Args:
        source: the weights.
        pooling: what is kept of an image's tokens; None for the mean of the patches of weights without a class token,
            or fine-tuned with mean pooling, and for the class token of others.
        block: from 0, or from the end (-1 is the last); the final norm is applied to any block's tokens.
        image_size: side in pixels of the square the backbone is given; None for the weights' own.
        crop_fraction: the centre crop's share of the resized short side, above 0 and at most 1; None for the weights'.
        precision: of the arithmetic.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        whole: the size of whole images, as `grid_of` takes it, all of whose patches are the features; None for the
            square of `image_size`.

    Raises:
        UserError: the weights cannot be used, there is no such block, or the device cannot be used.
    """
    transform, place = source.transform(image_size, crop_fraction), choose_device(device)
    vit = source.load(whole or transform.image_size)
    if pooling == "class" and not vit.has_class_token:
        raise UserError(
            f"--pooling class: {source.given} has no class token, expected mean or patches; leave the flag out for mean"
        )
    chosen: Pooling = pooling or ("mean" if source.mean_pooled or not vit.has_class_token else "class")
    chosen = "patches" if whole else chosen
    return Extractor(source, vit.to(place), transform, chosen, block_index(vit, block), precision, place, whole)


def extractor_like(metadata: Metadata, weights: str | None, device: str) -> Extractor:
    """Returns the extractor that a folder of features was made with.

    Args:
        metadata: the folder's features.json.
        weights: where the weights are now, if they have moved.
        device: as `make_extractor` takes it.

    Raises:
        UserError: the weights are gone, or others are in their place.
    """
    try:
        source = find_source(weights or metadata["weights"])
    except UserError as error:
        raise error if weights else UserError(f"{error}; if the weights have moved, give --weights") from error
    extractor = make_extractor(
        replace(source, input=metadata["transform"]),
        pooling=metadata["pooling"],
        block=metadata["block"],
        precision=metadata["precision"],
        device=device,
        whole=view_size(metadata),
    )
    if fingerprint(extractor.vit) != metadata["weights_hash"]:
        raise UserError(
            f"{source.path} does not hold the weights that the features were computed with; give those with "
            "--weights, or embed again"
        )
    return extractor


def view_size(metadata: Metadata) -> int | HeightWidth | None:
    """Returns the size of whole images, as `grid_of` takes it, that features are of; None for those of a square."""
    numbers = metadata.get("patch_view")
    if numbers is None:
        return None
    return numbers[0] if len(numbers) == 1 else HeightWidth(*numbers)


def block_index(vit: Backbone, block: int) -> int:
    """Returns a block's number from 0 for one that may count from the end (-1 is the last).

    Raises:
        UserError: there is no such block.
    """
    if not -vit.num_blocks <= block < vit.num_blocks:
        raise UserError(
            f"--block: got {block}, expected 0 to {vit.num_blocks - 1}, or -1 (the last) to -{vit.num_blocks}: the ViT "
            f"has {vit.num_blocks} blocks"
        )
    return block % vit.num_blocks
