"""A backbone on its own, with the weights of a file, to get features from."""

from pathlib import Path

from torch import nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.weights.families.registry import kinds
from maekit.weights.get.find import find_weights
from maekit.weights.layouts.layout import MASK
from maekit.weights.load.bands import Bands
from maekit.weights.load.load import load_weights
from maekit.weights.read.bands import file_bands
from maekit.weights.read.metadata import config_eps
from maekit.weights.state.state_file import in_words, read_state


def load_backbone(source: str | Path, *, image_size: int | tuple[int, int] = 224, size: str | None = None) -> ViT:
    """Builds the ViT that a weights file holds and loads it, for features.

    Args:
        source: a file of weights (of any layout that `read_state` reads, or a checkpoint of a run), the folder of a
            Hugging Face model, or a name that `find_weights` downloads, such as mae_vit_base.
        image_size: height and width in pixels, multiples of the patch; positions are resized to it.
        size: the ViT's size by name; default: read off the file.

    Returns:
        The backbone in evaluation mode. `backbone(images [B, C, H, W], taps=blocks)`, of images with the file's
        channels, normalised by its mean and deviation (ImageNet's where it says none), gives `tokens` [B, P + N, D],
        the class token (if the ViT has one) and registers first, and `maps` [B, D, h, w] after the blocks. Without a
        final norm in the file (fine-tuned with mean pooling) the tokens are the raw ones.

    Raises:
        UserError: the file is missing, damaged, or of a ViT of another kind, or cannot be downloaded.
    """
    source = find_weights(source)
    state = read_state(source)
    if adapted := kinds()[state.kind].adapted:
        raise UserError(
            f"{source} holds {in_words(state.layout, state.kind)}: its ViT has {adapted}, which a plain "
            "one lacks, so it gives no features alone; name the weights it was started from, or predict with it"
        )
    tensors, eps = state.tensors, config_eps(state.meta)
    name = size or state.shape.name
    if name is None:
        raise UserError(
            f"{source} holds {state.shape}; no known size fits, give size= (see maekit/backbone/sizes.yaml)"
        )
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    bands = file_bands(state.meta, tensors["patch_embed.proj.weight"].shape[1]).in_order
    vit = ViT(
        load_size(name),
        image_size=(height, width),
        channels=len(bands),
        final_norm="norm.weight" in tensors,
    )
    load_weights(
        _Alone(vit),
        source,
        allow_new=(),
        allow_unused=("head.*", "decoder*", "mask_token", MASK),
        allow_resized=("pos_embed", "*attn.position.table", "shared_bias.*"),
        bands=Bands(bands),
    )
    if eps is not None:
        set_norm_eps(vit, eps)
    return vit.eval()


def set_norm_eps(model: nn.Module, eps: float) -> None:
    """Sets the eps of every LayerNorm of a model, as it was trained; transformers' ViTMAE has 1e-12."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


class _Alone(nn.Module):
    """A model with a backbone and no head, as `load_weights` takes it."""

    def __init__(self, backbone: ViT) -> None:
        super().__init__()
        self.backbone = backbone
