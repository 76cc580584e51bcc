"""Tries a decode head on maps without values: what it gives, and what it needs, is known before a run begins."""

import copy
import traceback
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.segmentation.head.mmseg.arguments import PREFIX, HeadClass
from maekit.segmentation.head.mmseg.inputs import Kind, Maps, inputs_of
from maekit.segmentation.head.mmseg.library import OperatorMissingError
from maekit.system.remarks import without_remarks

_PIXEL = "more than 1 value per channel"  # torch, of BatchNorm


class Tried(NamedTuple):
    """What a head showed.

    Attributes:
        least_images: the smallest batch it trains on: 2 where BatchNorm measures what was pooled to one pixel.
        unused: parameters that have no part in the logits.
    """

    least_images: int
    unused: tuple[str, ...]


def try_head(head: HeadClass, module: nn.Module, kind: Kind, maps: Maps, num_classes: int) -> Tried:
    """Takes a training step with a head on the meta device, which costs no memory, little time and no random numbers.

    Args:
        head: its class.
        module: the head, on any device.
        kind: what it takes of the maps.
        maps: of the backbone.
        num_classes: C, of the logits that are expected.

    Raises:
        UserError: it needs a compiled operator, refuses these maps, or gives something other than logits.
    """
    word = f"{PREFIX}{head.name}"
    tried = _without_values(module)
    try:
        with torch.device("meta"), without_remarks():
            try:
                least, logits = 1, tried(_inputs(kind, maps, 1))
            except ValueError as error:
                if _PIXEL not in str(error):
                    raise
                least, logits = 2, tried(_inputs(kind, maps, 2))
    except OperatorMissingError as error:
        raise needs_operator(head, error) from None
    except Exception as error:  # whatever a head says of its maps: assertions, too
        raise refused(head, error) from error
    if not isinstance(logits, Tensor) or logits.dim() != 4 or logits.shape[:2] != (least, num_classes):
        got = f"{len(logits)} outputs" if isinstance(logits, tuple | list) else f"a tensor {list(logits.shape)}"
        raise UserError(
            f"model.head: got {word}, which gives {got} in training, expected the logits [B, {num_classes}, h, w] "
            f"alone: it has losses of its own; give another, such as {PREFIX}UPerHead"
        )
    trained = {name: value for name, value in tried.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(logits.sum(), list(trained.values()), allow_unused=True)
    unused = [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]
    return Tried(least, tuple(unused))


def _without_values(module: nn.Module) -> nn.Module:
    """Returns a copy on the meta device; layers that it has twice, as ANNHead's keys and queries, stay one layer."""
    memo: dict[int, object] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(module, memo)


def needs_operator(head: HeadClass, error: OperatorMissingError) -> UserError:
    """Returns what to say of a head that calls a compiled operator."""
    return UserError(
        f"model.head: got {PREFIX}{head.name}, which needs mmcv's compiled operator {error}, expected a head without "
        f"any (mmcv-lite has none); give another, such as {PREFIX}UPerHead"
    )


def refused(head: HeadClass, error: Exception) -> UserError:
    """Returns in one line what a head says of its arguments or maps; of an assertion without words, the assertion."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or last.line
    return UserError(
        f"model.head_args: mmsegmentation's {head.name} refuses them, or these maps ({type(error).__name__}: {text}); "
        "docs/heads.md says what each head takes"
    )


def _inputs(kind: Kind, maps: Maps, batch: int) -> list[object]:
    height, width = maps.grid
    scales = (4.0, 2.0, 1.0, 0.5) if kind == "pyramid" else (1.0,) * maps.num_maps
    sizes = [(int(height * scale), int(width * scale)) for scale in scales]
    images = [torch.empty(batch, maps.embed_dim, *size) for size in sizes]
    tokens = [torch.empty(batch, maps.embed_dim)] * (maps.num_maps if maps.class_token else 0)
    return inputs_of(kind, [*images, *tokens], maps.num_maps)
