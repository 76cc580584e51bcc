import copy
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
import torch.distributed as dist
from timm.models.vision_transformer import VisionTransformer
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from maekit.backbone.sizes import Size, load_size
from maekit.backbone.vit import ViT
from maekit.classification.linear_head import LinearHead
from maekit.errors import UserError
from maekit.optim.groups import ParameterRow, Rule, check_groups, describe, parameter_groups, parameter_rows
from maekit.optim.resume import restore_order
from tests.numeric import assert_float64

pytestmark = pytest.mark.numeric

TINY = Size("tiny", embed_dim=24, num_blocks=3, num_heads=2, patch_size=8)
FINE_TUNE: tuple[Rule, ...] = ("1d", "pos_embed", "cls_token")
PUBLISHED = [("vit_base_patch16", 5e-4, 0.65), ("vit_large_patch16", 1e-3, 0.75), ("vit_huge_patch14", 1e-3, 0.75)]


class Classifier(nn.Module):
    """A backbone and a head, as every task has them; `pooling` decides who owns the last norm."""

    def __init__(self, size: Size = TINY, pooling: str = "mean", image_size: int = 32) -> None:
        super().__init__()
        self.backbone = ViT(size, image_size=(image_size, image_size), final_norm=pooling == "class")
        self.head = LinearHead(size.embed_dim, 10, pooling=pooling, init_std=0.02)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone.pool(self.backbone(images).tokens, self.head.pooling))
        return logits


def _rows(model: nn.Module, backbone: ViT, **changed: Any) -> list[ParameterRow]:
    numbers: dict[str, Any] = {"lr": 2e-3, "layer_decay": 0.65, "weight_decay": 0.05, "no_weight_decay": FINE_TUNE}
    return parameter_rows(model, backbone, **(numbers | changed))


def _groups(model: Classifier, **changed: Any) -> list[dict[str, Any]]:
    return parameter_groups(model, _rows(model, model.backbone, **changed))


def _published_layer(name: str, num_blocks: int) -> int:
    """The layer of a parameter as facebookresearch/mae, BEiT and mmpretrain number it, from its full name."""
    if name in ("backbone.cls_token", "backbone.pos_embed") or name.startswith("backbone.patch_embed."):
        return 0
    block = re.match(r"backbone\.blocks\.(\d+)\.", name)
    return int(block[1]) + 1 if block else num_blocks + 1


@pytest.mark.parametrize("pooling", ["mean", "class"])
@pytest.mark.parametrize(("name", "base_lr", "decay"), PUBLISHED)
def test_every_parameter_has_the_published_scale(name: str, base_lr: float, decay: float, pooling: str) -> None:
    with torch.device("meta"):
        model = Classifier(load_size(name), pooling, image_size=224)
    depth = model.backbone.num_blocks
    rows = _rows(model, model.backbone, lr=base_lr * 4, layer_decay=decay)
    assert [row.name for row in rows] == [name for name, _ in model.named_parameters()]
    for row in rows:
        layer = _published_layer(row.name, depth)
        scale = decay ** (depth + 1 - layer)
        assert row.layer == layer
        assert (row.lr_scale, row.lr) == pytest.approx((scale, base_lr * 4 * scale))


def test_the_smallest_rates_are_those_computed_by_hand() -> None:
    smallest = {}
    for name, base_lr, decay in PUBLISHED:
        with torch.device("meta"):
            model = Classifier(load_size(name), image_size=224)
        rows = {row.name: row.lr for row in _rows(model, model.backbone, lr=base_lr * 1024 / 256, layer_decay=decay)}
        smallest[name] = f"{rows['backbone.pos_embed']:.1e}"
    assert smallest == {"vit_base_patch16": "7.4e-06", "vit_large_patch16": "3.0e-06", "vit_huge_patch14": "3.0e-07"}


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_no_wrapper_changes_a_row(process_group: None) -> None:
    model = Classifier()
    plain = {row.name: row for row in _rows(model, model.backbone)}
    compiled = torch.compile(model)
    assert isinstance(compiled, nn.Module)
    wrapped = [
        nn.ModuleDict({"model": model}),
        nn.ModuleDict({"module": model}),  # as nn.DataParallel names it, which wants a device of the tests' stand-in
        nn.parallel.DistributedDataParallel(model),
        compiled,
        nn.ModuleDict({"module": compiled}),
    ]
    for wrapper in wrapped:
        rows = {row.name: row for row in _rows(wrapper, model.backbone)}
        assert len(rows) == len(plain)
        for name, row in rows.items():
            same = plain[name[name.index("backbone.") if "backbone." in name else name.index("head.") :]]
            assert row.name != same.name
            assert (row.layer, row.lr, row.weight_decay) == (same.layer, same.lr, same.weight_decay)


def test_frozen_parameters_leave_no_row_and_no_group() -> None:
    model = Classifier()
    model.backbone.requires_grad_(False)
    model.backbone.blocks[1].requires_grad_(True)
    assert {row.name.split(".")[0] for row in _rows(model, model.backbone)} == {"backbone", "head"}
    groups = _groups(model)
    assert [group["name"] for group in groups] == ["layer_02_decay", "layer_02_no_decay", "head_decay", "head_no_decay"]
    check_groups(model, groups)


def test_a_shared_parameter_is_counted_once_and_belongs_to_the_backbone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alias = nn.Linear(24, 24)  # seen first, so it gives the name
            self.model = Classifier()
            self.alias.weight = self.model.backbone.get_parameter("blocks.0.attn.proj.weight")

    tied = Tied()
    rows = _rows(tied, tied.model.backbone)
    layers = {row.name: row.layer for row in rows}
    assert layers["alias.weight"] == 1
    assert layers["alias.bias"] == 4
    assert "model.backbone.blocks.0.attn.proj.weight" not in layers
    groups = parameter_groups(tied, rows)
    check_groups(tied, groups)
    assert sum(len(group["params"]) for group in groups) == len(list(tied.parameters()))


def test_groups_are_named_ordered_and_plain() -> None:
    model = Classifier()
    groups = _groups(model)
    layers = ["layer_00", "layer_01", "layer_02", "layer_03", "head"]
    assert [group["name"] for group in groups] == [
        f"{layer}_{kind}" for layer in layers for kind in ("decay", "no_decay")
    ]
    parameters = dict(model.named_parameters())
    for group in groups:
        plain = {key: value for key, value in group.items() if key != "params"}
        assert json.loads(json.dumps(plain)) == plain
        assert group["lr"] == group["peak_lr"] == pytest.approx(2e-3 * 0.65 ** (4 - group["layer"]))
        assert all(p is parameters[name] for p, name in zip(group["params"], group["parameter_names"], strict=True))
    assert groups[1]["parameter_names"] == [
        "backbone.cls_token",
        "backbone.pos_embed",
        "backbone.patch_embed.proj.bias",
    ]
    assert describe(groups) == "10 groups, lr 3.6e-04 .. 2.0e-03, weight decay 0 / 0.05"


_NORMS = {"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "norm.weight", "norm.bias"}
_BIASES = {"attn.qkv.bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias", "patch_embed.proj.bias", "head.fc.bias"}
_TOKENS = {"pos_embed", "cls_token"}


@pytest.mark.parametrize(
    ("rules", "exempt"),
    [
        (FINE_TUNE, _NORMS | _BIASES | _TOKENS),  # facebookresearch/mae fine-tuning
        (("1d", "bias"), _NORMS | _BIASES),  # its pre-training, BEiT's and mmsegmentation's segmentation
        (("layer_norm", "pos_embed"), _NORMS | {"pos_embed"}),  # ViTDet-B and -L
        ((), set[str]()),  # ViTDet-H
        (("bias",), _BIASES | {name for name in _NORMS if name.endswith("bias")}),
        (("cls_token", "mask_token"), {"cls_token"}),
    ],
)
def test_weight_decay_exemptions_of_each_source(rules: Sequence[Rule], exempt: set[str]) -> None:
    model = Classifier(pooling="class")
    found = {row.name for row in _rows(model, model.backbone, no_weight_decay=rules) if row.weight_decay == 0}
    short = {re.sub(r"^(backbone\.)?(blocks\.\d+\.)?", "", name) for name in found}
    assert short == exempt
    counts = {name: sum(other.endswith(name) for other in found) for name in exempt & {"norm1.weight", "mlp.fc2.bias"}}
    assert set(counts.values()) <= {3}  # in each of the blocks


def test_layer_norm_is_known_by_its_module_not_its_shape() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = ViT(TINY, image_size=(32, 32), final_norm=False)
            self.norms = nn.ModuleDict({"layer": nn.LayerNorm((4, 6, 6)), "group": nn.GroupNorm(2, 4)})

    odd = Odd()
    decayed = {row.name: row.weight_decay for row in _rows(odd, odd.backbone, no_weight_decay=["layer_norm"])}
    assert decayed["norms.layer.weight"] == 0
    assert decayed["norms.group.weight"] == 0.05


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_timm_agrees_but_for_the_final_norm(pooling: str) -> None:
    ours = Classifier(pooling=pooling)
    pool: Literal["avg", "token"] = "avg" if pooling == "mean" else "token"
    theirs = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=10, global_pool=pool
    )
    names = {id(p): name for name, p in theirs.named_parameters()}
    groups = param_groups_layer_decay(theirs, 0.05, tuple(_TOKENS), layer_decay=0.65)
    expected = {names[id(p)]: (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    aliases = {"head.fc.weight": "head.weight", "head.fc.bias": "head.bias"}
    rows = {
        aliases.get(row.name, row.name.removeprefix("backbone.").removeprefix("head.")): (
            row.lr_scale,
            row.weight_decay,
        )
        for row in _rows(ours, ours.backbone)
    }
    assert rows.keys() == expected.keys()
    differ = {name for name in rows if rows[name] != pytest.approx(expected[name])}
    assert differ == ({"norm.weight", "norm.bias"} if pooling == "class" else set())
    if pooling == "class":  # timm trains the final norm as slowly as the last block; the published code does not
        assert (rows["norm.weight"][0], expected["norm.weight"][0]) == (1.0, pytest.approx(0.65))


def _train(model: Classifier, optimizer: torch.optim.Optimizer, steps: range) -> None:
    """Real optimizer steps on gradients that depend on parameter name and step only."""
    for step in steps:
        for number, (_, p) in enumerate(model.named_parameters()):
            p.grad = torch.sin(torch.arange(p.numel(), dtype=p.dtype) + number + step).view_as(p)
        optimizer.step()


def _adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, lr=1.0, weight_decay=1.0, betas=(0.9, 0.95))


def _twins() -> tuple[Classifier, Classifier]:
    models = Classifier(), Classifier()
    models[1].load_state_dict(models[0].state_dict())
    return models


def test_decay_one_equals_plain_groups() -> None:
    ours, plain = _twins()
    exempt = {name for name, p in plain.named_parameters() if p.ndim <= 1 or name.endswith(("pos_embed", "cls_token"))}
    named = list(plain.named_parameters())
    groups = [
        {"params": [p for name, p in named if name not in exempt], "lr": 2e-3, "weight_decay": 0.05},
        {"params": [p for name, p in named if name in exempt], "lr": 2e-3, "weight_decay": 0.0},
    ]
    _train(ours, _adamw(_groups(ours, layer_decay=1.0)), range(4))
    _train(plain, _adamw(groups), range(4))
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
def test_each_step_moves_a_parameter_by_its_own_rate() -> None:
    """The first AdamW step is lr x sign of the gradient, after the weight shrank by lr x weight decay."""
    model, before = _twins()
    _train(model, _adamw(_groups(model)), range(1))
    old = dict(before.named_parameters())
    for number, row in enumerate(_rows(model, model.backbone)):
        start = old[row.name].detach()
        gradient = torch.sin(torch.arange(start.numel(), dtype=start.dtype) + number).view_as(start)
        expected = start * (1 - row.lr * row.weight_decay) - row.lr * gradient / (gradient.abs() + 1e-8)
        assert_float64(model.get_parameter(row.name).detach(), expected)


def test_resume_finds_every_parameter_by_name() -> None:
    straight, resumed = _twins()
    optimizer = _adamw(_groups(straight))
    _train(straight, optimizer, range(3))
    for group in optimizer.param_groups:
        group["lr"] *= 0.5  # as a schedule leaves it
    resumed.load_state_dict(straight.state_dict())
    shuffled = [
        group | {"params": group["params"][::-1], "parameter_names": group["parameter_names"][::-1]}
        for group in reversed(_groups(resumed))
    ]
    again = _adamw(shuffled)
    again.load_state_dict(restore_order(copy.deepcopy(optimizer.state_dict()), shuffled))
    assert [group["name"] for group in again.param_groups] == [group["name"] for group in shuffled]
    assert [group["lr"] for group in again.param_groups] == [0.5 * group["peak_lr"] for group in shuffled]
    _train(straight, optimizer, range(3, 6))
    _train(resumed, again, range(3, 6))
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_resume_keeps_a_parameter_without_state() -> None:
    model = Classifier()
    optimizer = _adamw(_groups(model))
    _train(model, optimizer, range(1))
    saved = optimizer.state_dict()
    del saved["state"][0]
    restored = restore_order(saved, _groups(model))
    assert restored["state"].keys() == saved["state"].keys()
    _adamw(_groups(model)).load_state_dict(restored)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"lr": 1e-3}, r"got peak_lr 0\.00017\d* in optimizer group 'layer_00_decay', expected 0\.00035\d* of the"),
        ({"layer_decay": 0.75}, r"got peak_lr .* in optimizer group 'layer_00_decay', expected"),
        ({"weight_decay": 0.1}, r"got weight_decay 0\.1 in optimizer group 'layer_00_decay', expected 0\.05 of the"),
        (
            {"no_weight_decay": ()},
            r"got 5 missing \(layer_00_no_decay, .*\) in the optimizer groups, expected those of",
        ),
        (
            {"no_weight_decay": ("1d", "pos_embed")},
            r"got 1 new \(backbone\.cls_token\) in the parameters of optimizer group 'layer_00_decay'",
        ),
    ],
)
def test_resume_refuses_other_settings(changed: dict[str, Any], line: str) -> None:
    model = Classifier()
    with pytest.raises(UserError, match=line) as caught:
        restore_order(_adamw(_groups(model)).state_dict(), _groups(model, **changed))
    assert "--model.weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resume_refuses_another_model_and_foreign_groups() -> None:
    model = Classifier()
    saved = _adamw(_groups(model)).state_dict()
    with pytest.raises(UserError, match=r"got 2 new \(backbone\.norm\.weight, backbone\.norm\.bias\) and 2 missing"):
        restore_order(saved, _groups(Classifier(pooling="class")))
    deeper = Classifier(Size("deeper", embed_dim=24, num_blocks=4, num_heads=2, patch_size=8))
    with pytest.raises(UserError, match=r"got 2 new \(layer_04_decay, layer_04_no_decay\) in the optimizer groups"):
        restore_order(saved, _groups(deeper))
    with pytest.raises(UserError, match="groups lack name, parameter_names, peak_lr"):
        restore_order(torch.optim.AdamW(model.parameters()).state_dict(), _groups(model))


def test_a_parameter_in_no_group_or_in_two_stops_the_run() -> None:
    model = Classifier()
    groups = _groups(model)
    check_groups(model, groups)
    with pytest.raises(UserError, match=r"'backbone\.cls_token' in 2 optimizer groups"):
        check_groups(model, [*groups, groups[1]])
    with pytest.raises(UserError, match=r"'head\.fc\.weight' in 0 optimizer groups"):
        check_groups(model, [group for group in groups if group["name"] != "head_decay"])
    model.register_parameter("late", nn.Parameter(torch.zeros(3)))
    with pytest.raises(UserError, match="'late' in 0 optimizer groups"):
        check_groups(model, groups)


def test_a_wrong_name_stops_the_run() -> None:
    model = Classifier()
    with pytest.raises(UserError, match=r"got 'pos_embd' in no_weight_decay.*did you mean 'pos_embed'"):
        _rows(model, model.backbone, no_weight_decay=["pos_embd"])
    with pytest.raises(UserError, match="'cls_token' outside the model"):
        _rows(model, ViT(TINY, image_size=(32, 32)))
    model.backbone.register_parameter("adapter", nn.Parameter(torch.zeros(3)))
    with pytest.raises(UserError, match="adapter"):
        _rows(model, model.backbone)
    assert set(FINE_TUNE) < set(get_args(Rule))
