"""Partial fine-tuning: only the last blocks of a backbone are trained (MAE paper, Figure 9)."""

from maekit.backbone.block import Block
from maekit.backbone.vit import ViT
from maekit.errors import UserError


def tune_last_blocks(backbone: ViT, tuned_blocks: float) -> None:
    """Freezes a ViT except for its last blocks; the frozen part is a fixed function, without drop path.

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


def _check(tuned_blocks: float, num_blocks: int) -> None:
    whole = 0 <= tuned_blocks <= num_blocks and tuned_blocks == int(tuned_blocks)
    if not whole and tuned_blocks != 0.5:
        raise UserError(
            f"got tuned_blocks {tuned_blocks:g}, expected 0 (the head alone), 0.5 (the MLP of the last block) or a "
            f"whole number from 1 to {num_blocks}, the blocks of this ViT; set --model.tuned_blocks"
        )
