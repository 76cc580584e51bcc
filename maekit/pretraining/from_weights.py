"""A masked autoencoder from any file with a decoder."""

from pathlib import Path
from typing import TypedDict

from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.pretraining.masking import Kind as MaskKind
from maekit.pretraining.masking import check_masking
from maekit.pretraining.model import Pretrainer, PretrainingSettings
from maekit.pretraining.target import Kind
from maekit.system.size import HeightWidth
from maekit.weights.describe.inspect import inspect
from maekit.weights.describe.uses import uses
from maekit.weights.get.find import find_weights, is_released
from maekit.weights.load.assumed import assumed_heads
from maekit.weights.load.backbone import set_norm_eps
from maekit.weights.load.bands import Bands
from maekit.weights.load.load import load_weights
from maekit.weights.read.bands import file_bands
from maekit.weights.read.metadata import HEAD_WIDTH, norm_eps, normalisation
from maekit.weights.read.metadata import norm_pix_loss as recorded_norm_pix_loss
from maekit.weights.state.state_file import StateFile, read_state, stored_grid


class DecoderSettings(TypedDict):
    """Those of `PretrainingSettings` that a file's decoder decides."""

    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    target: Kind
    num_components: int | None
    encoder_mask_tokens: bool


def load_pretrainer(
    source: str | Path,
    *,
    image_size: int | None = None,
    mask_ratio: float,
    masking: MaskKind = "random",
    norm_pix_loss: bool | None = None,
) -> Pretrainer:
    """Builds a masked autoencoder from a file that has its decoder, ready to evaluate.

    The decoder's width and depth are those of its tensors; its attention heads are as the file's metadata say, else 32
    channels wide each. Mean and standard deviation (`spec.mean`, `spec.std`) are the file's, else ImageNet's.

    Args:
        source: as `find_weights` takes it.
        image_size: height and width in pixels, a multiple of the patch; default: that of the file's position table, to
            which both tables are resized otherwise.
        mask_ratio: share of the patches that are hidden, above 0 and below 1.
        masking: how they are chosen.
        norm_pix_loss: whether the decoder predicts normalised pixels; default: as `known_norm_pix_loss` says, and
            normalised ones where that is None; `try_targets` measures it then.

    Raises:
        UserError: the file has no decoder, or lacks something else; its ViT is of no known size; or the size or the
            masks do not go with its patches.
    """
    path = find_weights(source)
    _require_decoder(path)
    state = read_state(path)
    size = state.shape
    assert size.name is not None and size.patch_size is not None  # or `_require_decoder` would have refused it
    sides = _image_size(path, state, image_size)
    check_masking(masking, (sides.height // size.patch_size, sides.width // size.patch_size), mask_ratio)
    if "decoder_target.basis" in state.tensors and norm_pix_loss is not None:
        count = len(state.tensors["decoder_target.basis"])
        raise UserError(f"{path} predicts {count} principal components; leave norm_pix_loss out")
    if norm_pix_loss is None:
        norm_pix_loss = known_norm_pix_loss(source, state)
    settings = PretrainingSettings(
        backbone=size.name,
        mask_ratio=mask_ratio,
        masking=masking,
        **decoder_settings(path, state, norm_pix_loss),
    )
    return _loaded(path, state, sides, settings)


def decoder_settings(path: Path, state: StateFile, norm_pix_loss: bool | None) -> DecoderSettings:
    """Returns the settings of the decoder that a file has.

    Args:
        path: of the file, for errors.
        state: its tensors.
        norm_pix_loss: whether the decoder predicts normalised pixels, unless it predicts principal components; None is
            taken for true.

    Raises:
        UserError: its attention heads do not divide its width.
    """
    components = state.tensors.get("decoder_target.basis")
    width = state.tensors["decoder_embed.weight"].shape[0]
    return {
        "decoder_width": width,
        "decoder_depth": len({name.split(".")[1] for name in state.tensors if name.startswith("decoder_blocks.")}),
        "decoder_heads": _decoder_heads(path, state, width),
        "target": "pca" if components is not None else "pixels" if norm_pix_loss is False else "normalised_pixels",
        "num_components": None if components is None else len(components),
        "encoder_mask_tokens": "encoder_mask_token" in state.tensors,
    }


def _loaded(path: Path, state: StateFile, sides: HeightWidth, settings: PretrainingSettings) -> Pretrainer:
    """Returns a model of these settings, in evaluation mode, with all weights of the file."""
    filters = file_bands(state.meta, state.tensors["patch_embed.proj.weight"].shape[1])
    bands = filters.in_order
    mean, std = (dict(zip(filters.names, values, strict=False)) for values in (filters.mean, filters.std))
    if len(mean) != len(bands):
        raise UserError(
            f"{path} has patch filters of {len(bands)} bands ({', '.join(bands)}) and {len(mean)} means, "
            "expected as many; give a checkpoint of a run, which has them"
        )
    spec = DataSpec(
        (), sides, mean=tuple(mean[b] for b in bands), std=tuple(std[b] for b in bands), target="none", bands=bands
    )
    model = Pretrainer(spec, settings)
    tables = model.expect_resized
    load_weights(
        model,
        path,
        allow_new=(),
        allow_unused=model.expect_unused,
        allow_resized=tables,
        bands=Bands(bands, spec.mean, spec.std),
    )
    set_norm_eps(model, norm_eps(state.meta))
    return model.eval()


def assumptions(source: str | Path) -> list[str]:
    """Returns a line for each thing that `load_pretrainer` assumes of a file, because its metadata do not say it."""
    if is_released(source):
        return []
    state = read_state(find_weights(source))
    width, lines = state.tensors["decoder_embed.weight"].shape[0], []
    lines += assumed_heads(state)
    if state.decoder_heads is None:
        heads = max(1, width // HEAD_WIDTH)
        lines.append(f"{heads} attention heads in the decoder, {HEAD_WIDTH} channels each, as in facebookresearch/mae")
    if normalisation(state.meta) is None:
        lines.append("images normalised with ImageNet's mean and standard deviation")
    return [f"assumed: {line}: the file does not say" for line in lines]


def known_norm_pix_loss(source: str | Path, state: StateFile | None = None) -> bool | None:
    """Returns whether a file's decoder predicts normalised pixels, as its metadata say; None where they do not.

    The files with decoder that the authors of MAE released say nothing and are known by their names: they were trained
    by PRETRAIN.md of facebookresearch/mae @ efb2a80, with norm_pix_loss.
    """
    recorded = recorded_norm_pix_loss((state or read_state(find_weights(source))).meta)
    return True if recorded is None and is_released(source) else recorded


def _require_decoder(path: Path) -> None:
    """Refuses a file without a decoder, or of a ViT of no known size."""
    described = inspect(path)
    use = uses(described)["reconstruction"]
    if not use.possible:
        raise UserError(
            f"{path} ({described.in_words}) cannot reconstruct: {use.how}; give a file of a pre-training with its "
            "decoder"
        )


def _image_size(path: Path, state: StateFile, wanted: int | None) -> HeightWidth:
    """Returns the image size that was asked for, else that of the file's position table; both in pixels."""
    patch, table = state.shape.patch_size or 1, state.tensors["pos_embed"]
    grid = stored_grid(state, table.shape[1] - int("cls_token" in state.tensors))
    if wanted is None and (grid is None or grid[0] != grid[1]):
        found = "no square grid" if grid is None else f"a grid of {grid[0]}x{grid[1]} patches"
        raise UserError(f"{path} has positions for {found}, expected a square one; give --image_size, times {patch} px")
    size = grid[0] * patch if wanted is None and grid else wanted or 0
    if size < patch or size % patch:
        near = max(round(size / patch), 1) * patch
        raise UserError(f"--image_size: got {size}, expected a multiple of the patches' {patch} px, such as {near}")
    return HeightWidth(size, size)


def _decoder_heads(path: Path, state: StateFile, width: int) -> int:
    """Returns the decoder's attention heads: as the file's metadata say, else 32 channels each."""
    heads = state.decoder_heads or max(1, width // HEAD_WIDTH)
    if width % heads:
        raise UserError(
            f"{path} has a decoder {width} wide and does not say how many attention heads it has, expected a multiple "
            f"of {HEAD_WIDTH}; give a checkpoint of a run, or a folder of transformers, whose config.json says it"
        )
    return heads
