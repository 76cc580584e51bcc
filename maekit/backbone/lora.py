"""Low-rank adaptation (LoRA, arXiv 2106.09685): frozen linear layers with a trained update of low rank beside them.

Our own and not peft (0.21.2 was tried; its layers give the same numbers bit for bit). peft puts a module of its own in
the place of a layer, so a state has `qkv.base_layer.weight` where every file of a ViT has `qkv.weight`; it finds layers
by the end of their names, so `proj` is the patch filters too; where windows are padded, `Attention` uses the weight of
`qkv` itself, and peft's adapter was left out there without a word; and importing it takes 2.6 s, with transformers and
accelerate. Here an adapted layer still is a `Linear` with its own names, and `lora_a`, `lora_b` and `lora_scale` stand
beside them in the same block, so layer decay, sharding, compilation and EMA need to know nothing.

The fused `qkv` has one adapter, as in peft: one A [r, D] for q, k and v, and B [3 D, r], whose rows differ. The paper
adapts q and v apart, with an A each.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maekit.backbone.keyless import KeylessLinear, without_key
from maekit.errors import UserError, nearest
from maekit.system.plain import listed_names

# The paper adapts attention alone (section 4.2). All linear layers are needed to match full tuning in QLoRA (arXiv
# 2305.14314, section 4 and Figure 2), and dense tasks are further from pre-training than classification is.
TARGETS = ("qkv", "proj", "fc1", "fc2")
_A, _B, _SCALE = ".lora_a", ".lora_b", ".lora_scale"


class LoraLinear(nn.Linear):
    """A frozen linear layer W x + b to which scale x B A x is added; B starts at zero, so nothing changes at first.

    State: `weight` [M, D] and `bias` [M] as ever, `lora_a` [r, D], `lora_b` [M, r], and `lora_scale` [], alpha / r,
    which is kept so that a file can be merged without its configuration.

    Args:
        base: the layer whose parameters are taken over; of a `KeylessLinear` the bias of the keys stays zero.
        rank: r.
        alpha: the update is scaled by alpha / r.
        dropout: of the input of A, in [0, 1).
        generator: draws A, uniformly in +-1 / sqrt(D), as the paper's released code (microsoft/LoRA) does.
    """

    lora_scale: Tensor

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float, generator: torch.Generator) -> None:
        super().__init__(base.in_features, base.out_features, device="meta")  # its own parameters are never made
        self.weight, self.bias = base.weight, base.bias
        limit = 1 / math.sqrt(base.in_features)
        drawn = torch.rand(rank, base.in_features, generator=generator, device="cpu")
        self.lora_a = nn.Parameter(((2 * drawn - 1) * limit).to(base.weight.device, base.weight.dtype))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.register_buffer("lora_scale", base.weight.new_full((), alpha / rank))
        self.dropout = dropout
        self.keyless = isinstance(base, KeylessLinear)

    def forward(self, input: Tensor) -> Tensor:
        """Returns [..., M] for inputs [..., D]."""
        bias = without_key(self.bias) if self.keyless else self.bias
        return F.linear(input, self.weight, bias) + self._update(input)

    def without_bias(self, input: Tensor) -> Tensor:
        """Returns [..., M] for inputs [..., D], with no bias added."""
        return F.linear(input, self.weight) + self._update(input)

    def _update(self, input: Tensor) -> Tensor:
        dropped = F.dropout(input, self.dropout, self.training) if self.dropout else input
        return F.linear(F.linear(dropped, self.lora_a), self.lora_b) * self.lora_scale


def merge_layers(model: nn.Module) -> int:
    """Replaces each adapted layer of a model by a plain one of the merged weight, in place; returns how many."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLinear)]
    for name, layer in layers:
        weights = merged({f"x.{key}": value for key, value in layer.state_dict().items()}, name)
        kind = KeylessLinear if layer.keyless else nn.Linear
        options = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        plain = kind(layer.in_features, layer.out_features, bias=layer.bias is not None, **options)
        plain.load_state_dict({key.removeprefix("x."): value for key, value in weights.items()})
        model.set_submodule(name, plain.train(layer.training))
    return len(layers)


def target_names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Returns the layers that `--model.lora_targets` names, in their order; all of them for None.

    Args:
        given: a list, or text with commas between the names.

    Raises:
        UserError: none, or another name.
    """
    if given is None:
        return TARGETS
    names = listed_names(given)
    if not names:
        raise UserError(f"model.lora_targets: got none, expected of {', '.join(TARGETS)}, or null for all of them")
    for name in names:
        if name not in TARGETS:
            raise UserError(
                f"model.lora_targets: got '{name}', expected of {', '.join(TARGETS)}{nearest(name, TARGETS)}"
            )
    return tuple(name for name in TARGETS if name in names)


def is_adapter(name: str) -> bool:
    """Whether a parameter or buffer belongs to an adapter, by its name."""
    return name.endswith((_A, _B, _SCALE))


def rank_of(tensors: Mapping[str, Tensor]) -> int | None:
    """Returns the rank of the adapters among tensors by name; None without any."""
    return next((len(tensor) for name, tensor in tensors.items() if name.endswith(_A)), None)


def merged(tensors: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """Returns tensors by name with each adapter added to its layer, W + scale x B A, and none left.

    Args:
        tensors: the state of a model with adapters, or without.
        source: where they are from, for the error.

    Raises:
        UserError: a part of an adapter, or the layer it belongs to, is missing or of another shape.
    """
    found = {name: tensor for name, tensor in tensors.items() if not is_adapter(name)}
    for layer in dict.fromkeys(name.rpartition(".")[0] for name in tensors if is_adapter(name)):
        weight, *parts = (tensors.get(layer + part) for part in (".weight", _A, _B, _SCALE))
        a, b, scale = parts
        if weight is None or a is None or b is None or scale is None or weight.shape != (len(b), *a.shape[1:]):
            raise UserError(
                f"{source} has an adapter (LoRA) of '{layer}' that is not whole, expected {layer}.weight and "
                f"{layer}{_A}, {_B[1:]} and {_SCALE[1:]} that fit it; give the checkpoint as the run wrote it"
            )
        update = scale.double() * (b.double() @ a.double())
        found[f"{layer}.weight"] = (weight.double() + update).to(weight.dtype)
    return found
