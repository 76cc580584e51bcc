"""Masked autoencoding: a ViT that sees a few patches, and a decoder that predicts the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from maekit.backbone.block import Block
from maekit.backbone.pos_embed import resize_pos_embed, sincos_pos_embed
from maekit.backbone.protocol import Features, Hidden
from maekit.base.data import RunData, TransferData
from maekit.base.model import TransferModel
from maekit.base.settings import AdaptedSettings
from maekit.base.spec import RGB, DataSpec, Draw, shown_channels
from maekit.data.images.batch import ImageBatch, blank_images
from maekit.errors import UserError
from maekit.pretraining.decoder import MAEDecoder
from maekit.pretraining.masking import Grid, Masking, check_masking, draw_noise, fixed_noise, mask_by_noise
from maekit.pretraining.masking import Kind as MaskKind
from maekit.pretraining.metrics import PretrainingMetrics, ReconstructionRecords
from maekit.pretraining.online_probe import probe_accuracies
from maekit.pretraining.reconstruction import Reconstruction
from maekit.pretraining.shown import ShownReconstructions
from maekit.pretraining.target import Components, Kind, Moments, make_target, patchify, psnr, unpatchify
from maekit.system.ranges import check_range

PROBED = ("knn_top1", "probe_top1")  # measured on labelled images, not on the validation's
FIT_IMAGES = 2000  # whose patches the principal components are fitted to


class MaskedBatch(NamedTuple):
    """Images [B, C, H, W], normalised, and which of their patches are hidden."""

    image: Tensor
    masking: Masking


@dataclass(frozen=True, kw_only=True)
class PretrainingSettings(AdaptedSettings):
    """A masked autoencoder.

    Args:
        decoder_width: width of the decoder, a multiple of `decoder_heads` and of 4.
        decoder_depth: blocks of the decoder, 1 or more.
        decoder_heads: attention heads of each.
        mask_ratio: share of the patches that are hidden, above 0 and below 1.
        masking: how they are chosen: `random`; `block`, rectangles as in BEiT; `grid`, all but one of each 2 x 2.
        target: what is predicted: `pixels`; `normalised_pixels`, each patch less its mean and by its standard deviation
            (the released code's norm_pix_loss); `pca`, coefficients of principal components of patches.
        num_components: how many of these; for `pca` only.
        encoder_mask_tokens: give the encoder mask tokens in the hidden places instead of leaving them out, to measure
            what that costs (MAE paper, Tables 1c and 2).
        gradient_checkpointing: recompute each block in the backward pass: less memory, about a third more time.
        probe_images: how many labelled images at most the check of frozen features learns from, and is judged by (see
            data.probe_root).
        probe_neighbours: neighbours that vote there.
        monitor: what chooses best.ckpt and what --run.patience waits for; `knn_top1` and `probe_top1` are of frozen
            features (data.probe_root).
    """

    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    mask_ratio: float
    masking: MaskKind
    target: Kind
    num_components: int | None = None
    encoder_mask_tokens: bool = False
    gradient_checkpointing: bool = False
    probe_images: int = 10_000
    probe_neighbours: int = 20
    monitor: Literal["loss", "psnr", "knn_top1", "probe_top1"] = "loss"

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.probe_images", self.probe_images, "[1, inf)")
        check_range("model.probe_neighbours", self.probe_neighbours, "[1, inf)")
        _check_decoder(self.decoder_width, self.decoder_depth, self.decoder_heads)


class Pretrainer(TransferModel):
    """A masked autoencoder (arXiv 2111.06377): the encoder sees visible patches only, a light decoder the rest."""

    monitor: tuple[str, Literal["max", "min"]] = ("loss", "min")
    expect_new: tuple[str, ...] = ("head.*", "encoder_mask_token")
    expect_unused: tuple[str, ...] = ()
    expect_resized: tuple[str, ...] = ("pos_embed", "head.decoder_pos_embed")
    class_layers: tuple[str, ...] = ("head.*", "encoder_mask_token")  # new_head: a fresh decoder
    renewed_with_head: tuple[str, ...] = ("norm.*",)  # fine-tuning with mean pooling leaves none
    on_host: ClassVar[tuple[str, ...]] = ("index",)  # the seed of an evaluated image's mask
    head: MAEDecoder
    mean: Tensor
    std: Tensor

    def __init__(self, spec: DataSpec, settings: PretrainingSettings) -> None:
        """Builds encoder and decoder for images of `spec.image_size`."""
        super().__init__(spec, settings, final_norm=True, gradient_checkpointing=settings.gradient_checkpointing)
        if not self.backbone.has_class_token:
            raise UserError(
                f"got model.backbone {settings.backbone}, which has no class token, expected one that has: the decoder "
                "is given it; take another --model.backbone"
            )
        check_masking(settings.masking, self.backbone.grid, settings.mask_ratio)
        self.mask_ratio, self.masking = settings.mask_ratio, settings.masking
        self.monitor = (settings.monitor, "min" if settings.monitor == "loss" else "max")
        self.probe_images, self.probe_neighbours = settings.probe_images, settings.probe_neighbours
        for name, values in (("mean", spec.mean), ("std", spec.std)):  # of the channels
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.backbone.freeze_positions()
        width, heads = settings.decoder_width, settings.decoder_heads
        self.head = MAEDecoder(
            self.backbone.embed_dim,
            [Block(width, heads, drop_path=0.0, window=0) for _ in range(settings.decoder_depth)],
            sincos_pos_embed(width, self.backbone.grid, class_token=True),
            make_target(settings.target, spec.num_channels * self.backbone.patch_size**2, settings.num_components),
            mask_token=not settings.encoder_mask_tokens,
            gradient_checkpointing=settings.gradient_checkpointing,
        )
        self.encoder_mask_token: nn.Parameter | None = None
        if settings.encoder_mask_tokens:
            self.encoder_mask_token = nn.Parameter(0.02 * torch.randn(1, 1, self.backbone.embed_dim))

    def draw_masking(self, images: Tensor, noise: Tensor | None = None) -> Masking:
        """Chooses the hidden patches of images [B, C, H, W]: by noise [B, N], or at random."""
        if noise is None:
            noise = draw_noise(
                self.masking, len(images), self.backbone.patch_grid(images), self.mask_ratio, images.device
            )
        return mask_by_noise(noise.to(images.device, non_blocking=True), self.mask_ratio)

    def seeded_noise(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Returns noise [B, N] on the CPU that hides patches of each of images [B, C, H, W] by its own seed alone."""
        return fixed_noise(self.masking, seeds, self.backbone.patch_grid(images), self.mask_ratio)

    def encode(self, images: Tensor, masking: Masking) -> Tensor:
        """Returns [B, P + K, D]: the prefix tokens and the visible patches of images, after the final norm.

        With `encoder_mask_tokens` K is N: all patches in their places, the hidden ones mask tokens.
        """
        if self.encoder_mask_token is None:
            found: Features = self.backbone(images, visible=masking.visible)
        else:
            found = self.backbone(images, hidden=Hidden(masking.masked, self.encoder_mask_token))
        return found.tokens

    def decode(self, encoded: Tensor, masking: Masking, grid: Grid) -> Tensor:
        """Returns decoded patch tokens [B, N, Dd] for what `encode` gave of images of `grid` (h, w) patches."""
        positions = resize_pos_embed(self.head.decoder_pos_embed, self.backbone.pos_grid, grid, 1)
        restore = masking.restore if self.encoder_mask_token is None else None
        decoded: Tensor = self.head(self.backbone.without_registers(encoded), grid, restore, positions)
        return decoded

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
        """Returns predictions [B, N, V] of all patches of images [B, C, H, W], normalised, and which were hidden."""
        masking = self.draw_masking(images, noise)
        decoded = self.decode(self.encode(images, masking), masking, self.backbone.patch_grid(images))
        return self.head.predict(decoded), masking

    def patch_losses(self, images: Tensor, masking: Masking) -> tuple[Tensor, Tensor, Tensor]:
        """Returns of each hidden patch the loss [B, M], its predicted pixels and its true ones, [B, M, P] in fp32.

        The loss is the mean square over the target's values. M = N - K patches of each image are hidden; only they are
        normalised and predicted.
        """
        decoded = self.decode(self.encode(images, masking), masking, self.backbone.patch_grid(images))
        predicted = self.head.predict(_take(decoded, masking.hidden)).float()
        true = _take(patchify(images, self.backbone.patch_size), masking.hidden).float()
        with torch.autocast(images.device.type, enabled=False):
            losses = (predicted - self.head.target(true)).square().mean(-1)
            return losses, self.head.target.pixels(predicted.detach(), true), true

    def drawn(self, batch: ImageBatch) -> MaskedBatch:
        """Returns the images with a mask of each, drawn at random."""
        return MaskedBatch(batch.image, self.draw_masking(batch.image))

    def training_losses(self, batch: ImageBatch | MaskedBatch) -> dict[str, Tensor]:
        """Returns `loss`, the mean square error of the hidden patches' targets."""
        masked = self.drawn(batch) if isinstance(batch, ImageBatch) else batch
        return {"loss": self.patch_losses(masked.image, masked.masking)[0].mean()}

    def example_batch(self, count: int) -> ImageBatch:
        """Returns `count` black images."""
        return blank_images(count, self.spec.image_size, self.spec.num_channels)

    def new_metrics(self) -> PretrainingMetrics:
        """Returns metrics of the hidden patches: `loss`, and `psnr` in dB."""
        return PretrainingMetrics()

    def update_metrics(self, metrics: PretrainingMetrics, batch: ImageBatch) -> None:
        """Adds one evaluated batch, each image under a mask that depends on its place in the listing alone."""
        metrics.update(*self.hidden_loss_and_psnr(batch), batch.index)

    def image_records(self, metrics: PretrainingMetrics) -> ReconstructionRecords:
        """Returns loss and PSNR of each image."""
        return metrics.image_records()

    def hidden_loss_and_psnr(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Returns of each image the loss of its hidden patches and their PSNR in dB, both [B].

        The mask depends on the image's place in the listing alone.
        """
        noise = self.seeded_noise(batch.image, batch.index.tolist())
        losses, predicted, true = self.patch_losses(batch.image, self.draw_masking(batch.image, noise))
        return losses.mean(1), psnr(self._pixels(predicted), self._pixels(true), cut=self.is_rgb)

    @torch.inference_mode()
    def reconstruct(self, images: Tensor, noise: Tensor | None = None) -> Reconstruction:
        """Masks images [B, C, H, W], normalised, by noise [B, N] or at random, and returns pictures of the outcome."""
        values, masking = self(images, noise)
        size, grid = self.backbone.patch_size, self.backbone.patch_grid(images)
        true = patchify(images, size).float()
        original, predicted = self._pixels(true), self._pixels(self.head.target.pixels(values.float(), true))
        predicted = predicted.clamp(0, 1) if self.is_rgb else predicted
        hidden = masking.masked[..., None]
        grey, pasted = torch.where(hidden, 0.5, original), torch.where(hidden, predicted, original)
        quality = psnr(_take(predicted, masking.hidden), _take(original, masking.hidden), cut=self.is_rgb)
        first, second, third, fourth = (unpatchify(part, size, grid) for part in (original, grey, predicted, pasted))
        return Reconstruction(first, second, third, fourth, quality, masking.masked, shown_channels(self.spec.bands))

    def shown(self) -> ShownReconstructions:
        """Returns the PSNR of images, and pictures of them: original, masked, reconstructed."""
        return ShownReconstructions(self)

    def training_data(self, data: TransferData, device: torch.device) -> RunData:
        """Returns the data; a target of principal components is fitted to them first, unless it is already."""
        if self.monitor[0] in PROBED and data.probe_datasets() is None:
            raise UserError(
                f"got --model.monitor {self.monitor[0]} without labelled images to measure it on, expected "
                "--data.probe_root with a folder of class folders; add it, or leave --model.monitor out"
            )
        target = self.head.target
        if isinstance(target, Components) and not target.fitted:
            moments, images = Moments(target.mean.numel()), data.plain_train_dataset()
            for index in range(0, len(images), max(len(images) // FIT_IMAGES, 1)):
                moments.add(patchify(images[Draw(0, index)][0][None], self.backbone.patch_size))
            target.fit(moments)
        return data

    def side_metrics(self, data: RunData) -> dict[str, float]:
        """Returns `knn_top1` and `probe_top1` of frozen features, in percent, or nothing without `data.probe_root`."""
        splits = data.probe_datasets() if isinstance(data, TransferData) else None
        if splits is None:
            return {}
        return probe_accuracies(
            self.class_tokens, *splits, images=self.probe_images, neighbours=self.probe_neighbours,
            device=next(self.parameters()).device, num_workers=data.num_workers or 0,
        )  # fmt: skip

    @property
    def is_rgb(self) -> bool:
        """Whether images are red, green and blue, whose pixels are in 0..1."""
        return self.spec.bands == RGB

    def class_tokens(self, images: Tensor) -> Tensor:
        """Returns class tokens [B, D] of images [B, C, H, W], normalised, with nothing hidden."""
        return self.backbone.pool(self.backbone(images).tokens, "class")

    def _pixels(self, patches: Tensor) -> Tensor:
        """Returns patches [..., P] without the data's normalisation: in 0..1; P is in the order of `patchify`."""
        if not self.spec.mean:
            raise UserError("the data does not say the mean and standard deviation of its channels; give DataSpec both")
        mean, std = (values.to(patches.dtype).repeat(self.backbone.patch_size**2) for values in (self.mean, self.std))
        return patches * std + mean


def _take(patches: Tensor, places: Tensor) -> Tensor:
    """Returns [B, M, V] of [B, N, V], at places [B, M]."""
    return patches.gather(1, places[..., None].expand(-1, -1, patches.shape[2]))


def _check_decoder(width: int, depth: int, heads: int) -> None:
    if depth < 1:
        raise UserError(f"got a decoder_depth of {depth}, expected 1 or more blocks; set --model.decoder_depth")
    if heads < 1 or width < 4 or width % heads or width % 4:
        raise UserError(
            f"got a decoder_width of {width} with {heads} decoder_heads, expected a multiple of them and of 4; "
            "set --model.decoder_width and --model.decoder_heads"
        )
