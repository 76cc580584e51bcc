"""Layer decay as parameter groups of the optimizer: named groups per layer, each with its own lr and weight decay."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, get_args, runtime_checkable

from maekit.errors import UserError, nearest
from maekit.system.numbers import plural

if TYPE_CHECKING:
    from torch import nn

Rule = Literal["1d", "bias", "layer_norm", "pos_embed", "cls_token", "mask_token"]
# A parameter group as torch's optimizers hold it: a `Group` and the optimizer's own options, such as `betas`.
TorchGroup: TypeAlias = dict[str, Any]


class Group(TypedDict):
    """The parameters of one layer that are decayed, or not decayed, together, in the order of `parameter_names`.

    `lr` is what the schedule moves; `peak_lr` = the recipe's lr x `lr_scale` stays.
    """

    params: list["nn.Parameter"]
    lr: float
    weight_decay: float
    name: str
    layer: int
    lr_scale: float
    peak_lr: float
    parameter_names: list[str]


class LayeredBackbone(Protocol):
    """What layer decay asks of a backbone: how many blocks it has, and the layer of each of its parameters."""

    num_blocks: int

    def layer_of(self, name: str) -> int:
        """Returns 0 for the embeddings, i + 1 for block i, num_blocks + 1 for the final norm."""

    def named_parameters(self) -> "Iterator[tuple[str, nn.Parameter]]":
        """Yields its parameters under the names `layer_of` understands."""


@runtime_checkable
class Scaled(Protocol):
    """A module whose own parameters have so many times the learning rate of their layer, such as `ScaledLinear`."""

    lr_factor: float


@dataclass(frozen=True)
class ParameterRow:
    """One trainable parameter: lr = recipe's lr x lr_scale at the peak of the schedule; layer 0 is the embeddings.

    `factor` is the part of `lr_scale` that is the module's own, see `Scaled`.
    """

    name: str
    layer: int
    lr_scale: float
    lr: float
    weight_decay: float
    factor: float = 1.0


def parameter_rows(
    model: "nn.Module",
    backbone: LayeredBackbone,
    *,
    lr: float,
    layer_decay: float,
    weight_decay: float,
    no_weight_decay: Sequence[Rule],
) -> list[ParameterRow]:
    """Gives every trainable parameter of `model` its layer, learning rate and weight decay.

    Layers are looked up by parameter object, so prefixes of names (`module.`, `_orig_mod.`) do not matter. All other
    parameters (head, neck, decoder) are of layer num_blocks + 1. As in facebookresearch/mae, BEiT and ViTDet,
    lr_scale = layer_decay ** (num_blocks + 1 - layer), times the factor of a `Scaled` module. A parameter that any rule
    of `no_weight_decay` names is not decayed: "1d" by its number of dimensions, "layer_norm" by its torch.nn.LayerNorm
    module, the others by the last part of its name; registers go with the class token.

    Raises:
        UserError: a parameter of the backbone has no layer or is not in `model`, or a rule is unknown.
    """
    _check(model, backbone, no_weight_decay)
    layers = {id(p): backbone.layer_of(name) for name, p in backbone.named_parameters()}
    from torch import nn

    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters(recurse=False)}
    factors = {id(p): m.lr_factor for m in model.modules() if isinstance(m, Scaled) for p in m.parameters(False)}
    top = backbone.num_blocks + 1
    rows = []
    for name, p in model.named_parameters():
        if p.requires_grad:
            layer = layers.get(id(p), top)
            factor = factors.get(id(p), 1.0)
            scale = layer_decay ** (top - layer) * factor
            exempt = _labels(name, p, norms).intersection(no_weight_decay)
            rows.append(ParameterRow(name, layer, scale, lr * scale, 0.0 if exempt else weight_decay, factor))
    return rows


def _check(model: "nn.Module", backbone: LayeredBackbone, rules: Sequence[Rule]) -> None:
    for rule in rules:
        if rule not in get_args(Rule):
            hint = nearest(rule, get_args(Rule))
            raise UserError(f"got '{rule}' in no_weight_decay, expected only {', '.join(get_args(Rule))}{hint}")
    inside = {id(p) for p in model.parameters()}
    for name, p in backbone.named_parameters():
        if id(p) not in inside:
            raise UserError(
                f"got backbone parameter '{name}' outside the model, expected it inside; pass its own backbone"
            )


def _labels(name: str, parameter: "nn.Parameter", norms: set[int]) -> set[str]:
    last = name.rpartition(".")[2]
    labels = {"cls_token" if last == "reg_token" else last}
    if parameter.ndim <= 1:
        labels.add("1d")
    if id(parameter) in norms:
        labels.add("layer_norm")
    return labels


def parameter_groups(model: "nn.Module", rows: Sequence[ParameterRow]) -> list[TorchGroup]:
    """Collects rows into optimizer groups, one per (layer, decayed or not, factor), by layer and decayed first.

    Besides torch's `params`, `lr` and `weight_decay` a group holds plain `name` (`layer_03_decay`, `head_no_decay`,
    `head_decay_x0.1` of a factor), `layer`, `lr_scale`, `peak_lr` (`lr` is what the schedule moves) and
    `parameter_names` in the order of `params`.
    """
    parameters = dict(model.named_parameters())
    top = max((row.layer for row in rows), default=0)
    groups: dict[tuple[int, bool, float], Group] = {}
    for row in rows:
        group = groups.setdefault((row.layer, row.weight_decay == 0, row.factor), _empty_group(row, top))
        group["params"].append(parameters[row.name])
        group["parameter_names"].append(row.name)
    return [{**groups[key]} for key in sorted(groups)]


def _empty_group(row: ParameterRow, top: int) -> Group:
    # A backbone whose head is frozen has no layer of scale 1 at the top, unless nothing is scaled at all.
    place = "head" if row.layer == top and row.lr_scale == row.factor else f"layer_{row.layer:02d}"
    own = "" if row.factor == 1 else f"_x{row.factor:g}"
    return {
        "params": [],
        "lr": row.lr,
        "weight_decay": row.weight_decay,
        "name": f"{place}_{'decay' if row.weight_decay else 'no_decay'}{own}",
        "layer": row.layer,
        "lr_scale": row.lr_scale,
        "peak_lr": row.lr,
        "parameter_names": [],
    }


def check_groups(model: "nn.Module", groups: Sequence[TorchGroup]) -> None:
    """Stops the run with a UserError when a trainable parameter is in no group or in more than one."""
    counts = Counter(id(p) for group in groups for p in group["params"])
    for name, p in model.named_parameters():
        if p.requires_grad and counts[id(p)] != 1:
            raise UserError(
                f"got trainable parameter '{name}' in {counts[id(p)]} optimizer groups, expected exactly one; "
                "build the groups with maekit.optim.groups.parameter_groups after the last parameter is added or frozen"
            )


def describe(groups: Sequence[TorchGroup]) -> str:
    """Returns one line for the log: number of groups, range of peak rates, the weight decays."""
    rates = [group["peak_lr"] for group in groups]
    decays = " / ".join(f"{decay:g}" for decay in sorted({group["weight_decay"] for group in groups}))
    return f"{plural(len(groups), 'group')}, lr {min(rates):.1e} .. {max(rates):.1e}, weight decay {decays}"
