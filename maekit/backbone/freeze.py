"""What of a backbone is trained: its last blocks (MAE paper, Figure 9), all but the embeddings, or adapters (LoRA)."""

from collections.abc import Sequence

import torch
from torch import nn

from maekit.backbone.block import Block
from maekit.backbone.lora import LoraLinear
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.system.ranges import check_range


def tune_last_blocks(backbone: ViT, tuned_blocks: float) -> None:
    """Freezes a ViT except for its last blocks; the frozen part is a fixed function, without drop path
    or augmented rotary positions.

    Autograd keeps no activations of frozen blocks below the first tuned one, so gradient checkpointing recomputes
    nothing of them. What is tuned for each value of `tuned_blocks`; where the paper is silent, this is our choice:

    - 0: nothing of the backbone;
    - 0.5: the MLP sub-block of the last block (its norm2, mlp and scale) and the final norm;
    - 1, 2, ...: that many whole blocks and the final norm;
    - all blocks: the embeddings and shared parameters too: full fine-tuning, the last point of the paper's figure.

    Args:
        backbone: the ViT, whose `requires_grad` and drop path are set in place.
        tuned_blocks: 0, 0.5, or a whole number up to the number of blocks.

    Raises:
        UserError: any other number.
    """
    _check(tuned_blocks, backbone.num_blocks)
    if tuned_blocks == backbone.num_blocks:
        return
    backbone.requires_grad_(False)
    backbone.augment_positions = False
    if tuned_blocks > 0:
        backbone.norm.requires_grad_(True)
    frozen = backbone.num_blocks - int(tuned_blocks)
    for index, block in enumerate(backbone.blocks):
        assert isinstance(block, Block)
        if index < frozen:
            block.drop_path = 0.0
        else:
            block.requires_grad_(True)
    if tuned_blocks == 0.5:
        for name, parameter in backbone.blocks[-1].named_parameters():
            parameter.requires_grad_(name.startswith(("norm2.", "mlp.", "gamma_2")))


def freeze_embeddings(backbone: ViT) -> None:
    """Freezes what comes before the first block: patch filters, position table, class token and registers."""
    for name, parameter in backbone.named_parameters():
        if backbone.layer_of(name) == 0:
            parameter.requires_grad_(False)


def add_lora(backbone: ViT, *, rank: int, alpha: float | None, targets: Sequence[str], dropout: float) -> None:
    """Freezes a backbone, and puts a trained adapter beside each target layer of its blocks, in place.

    Relative positions and LayerScale that a task adds to the ViT are trained with the adapters: no pre-trained file has
    them, and frozen as they begin they would be of no use. Those of the pre-training are frozen.

    Draws nothing from the generators of a run, so a head that is made afterwards begins as it does without adapters.

    Args:
        backbone: a ViT.
        rank: from 1 to the width of the tokens.
        alpha: see `LoraLinear`; None for the rank, a scale of 1.
        targets: of `lora.TARGETS`.
        dropout: see `LoraLinear`.

    Raises:
        UserError: the rank is above the width.
    """
    check_range("model.lora_rank", rank, f"[1, {backbone.embed_dim}]")
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(backbone.is_added(name))
    generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
    for block in backbone.blocks:
        assert isinstance(block, Block)
        for parent in (block.attn, block.mlp):
            for name, layer in list(parent.named_children()):
                if name in targets and isinstance(layer, nn.Linear):
                    of = LoraLinear(layer, rank=rank, alpha=alpha or rank, dropout=dropout, generator=generator)
                    setattr(parent, name, of)


def _check(tuned_blocks: float, num_blocks: int) -> None:
    whole = 0 <= tuned_blocks <= num_blocks and tuned_blocks == int(tuned_blocks)
    if not whole and tuned_blocks != 0.5:
        raise UserError(
            f"got tuned_blocks {tuned_blocks:g}, expected 0 (the head alone), 0.5 (the MLP of the last block) or a "
            f"whole number from 1 to {num_blocks}, the blocks of this ViT; set --model.tuned_blocks"
        )
