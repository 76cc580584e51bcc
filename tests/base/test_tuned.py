"""What is trained in every family: frozen blocks, frozen parts and adapters, and what contradicts itself."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maekit.base.settings import AdaptedSettings, TrainedSettings
from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import TUNING, resolve
from maekit.recipes.tasks import find_task

# a task of each family that trains its backbone, and the side of its smoke images
SIDES = {"imagenet_finetune": 32, "ade20k_upernet": 64, "ade20k_linear": 64, "coco_maskrcnn": 64, "mae_pretrain": 64}


def model(task: str, *flags: str) -> Any:
    stacked = load_recipe(find_task(task), "smoke")
    module = stacked.task.load()
    words = [f"--model.{flag}" for flag in ("weights=none", *flags)]
    values = resolve(stacked, module, words, training=False).values["model"]
    torch.manual_seed(0)
    half = (0.5, 0.5, 0.5)
    spec = DataSpec(tuple(map(str, range(10))), (SIDES[task],) * 2, mean=half, std=half)
    return module.Model.build(spec, values).train()


def loss(net: Any, batch: Any) -> Tensor:
    torch.manual_seed(1)
    found: Tensor = net.training_losses(net.drawn(batch))["loss"]
    return found


def stepped(net: Any, batch: Any) -> set[str]:
    """Trains two steps; returns what changed. Two, since B is zero at first, so that A has no gradient."""
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss(net, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}


def saved_bytes(run: Any, net: nn.Module) -> int:
    """Bytes that autograd saves of `run()`, parameters not among them; what shares memory counts once."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that its address is not given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("task", SIDES)
def test_two_tuned_blocks_leave_the_rest_bit_equal_and_save_half_of_the_backbones_activations(task: str) -> None:
    part, whole = model(task, "freeze=null", "tuned_blocks=2"), model(task, "freeze=null")
    batch = part.example_batch(2)
    frozen = {name for name, p in part.named_parameters() if not p.requires_grad}
    assert {"backbone.patch_embed.proj.weight", "backbone.blocks.0.mlp.fc1.weight"} <= frozen
    assert not any(name.startswith(("head.", "backbone.blocks.2.", "backbone.blocks.3.")) for name in learned(frozen))
    assert not stepped(part, batch) & frozen
    taps = getattr(part, "taps", ())
    sizes = [saved_bytes(lambda net=net: net.backbone(batch.image, taps=taps), net) for net in (part, whole)]
    assert sizes[0] <= 0.6 * sizes[1], sizes


def learned(names: set[str]) -> Iterator[str]:
    """Of those that are frozen, all but a table that is never trained: the decoder's positions."""
    return (name for name in names if name != "head.decoder_pos_embed")


@pytest.mark.parametrize("task", SIDES)
def test_adapters_change_nothing_at_first_and_then_alone_learn_beside_the_head(task: str) -> None:
    plain, adapted = model(task, "freeze=null"), model(task, "freeze=null", "lora_rank=4")
    batch = plain.example_batch(2)
    batch = batch._replace(image=torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(3)))
    state = adapted.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())
    assert torch.equal(loss(plain, batch), loss(adapted, batch))
    changed = stepped(adapted, batch)
    of_backbone = {name for name in changed if name.startswith("backbone.")}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    adapters = {f"backbone.blocks.{i}.{of}.lora_{ab}" for i in range(4) for of in layers for ab in "ab"}
    added = of_backbone - adapters  # relative positions and LayerScale, which no pre-trained file has
    assert adapters <= of_backbone and bool(added) == (task in ("ade20k_upernet", "coco_maskrcnn"))
    assert not {name for name in added if ".position." not in name and "gamma" not in name}
    assert any(name.startswith("head.") for name in changed)


@pytest.mark.parametrize("task", SIDES)
def test_a_frozen_backbone_has_no_graph_and_every_other_parameter_a_gradient(task: str) -> None:
    net = model(task, "freeze=backbone", *(["drop_path=0.5"] if task != "mae_pretrain" else []))
    images = torch.randn(2, 3, SIDES[task], SIDES[task])
    found = [net.backbone(images).tokens for _ in range(2)]
    assert torch.equal(*found) and not found[0].requires_grad
    batch = net.example_batch(2)
    loss(net, batch).backward()  # type: ignore[no-untyped-call]
    if task != "coco_maskrcnn":  # one image without objects has no gradient of masks
        assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    assert all(p.grad is None for p in net.backbone.parameters())


@pytest.mark.parametrize("task", ["imagenet_finetune", "coco_maskrcnn"])
def test_gradient_checkpointing_gives_adapters_the_same_gradients(task: str) -> None:
    nets = [model(task, "lora_rank=4", "lora_dropout=0.2", f"gradient_checkpointing={on}") for on in ("false", "true")]
    batch = nets[0].example_batch(2)
    batch = batch._replace(image=torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(3)))
    for net in nets:
        loss(net, batch).backward()  # type: ignore[no-untyped-call]
    for (name, one), other in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        if one.grad is not None:
            assert torch.equal(one.grad, other.grad), name


CONTRADICTIONS = {
    "freeze=backbone tuned_blocks=2": "got model.tuned_blocks 2 with model.freeze backbone, expected one of the two",
    "lora_rank=4 tuned_blocks=2": "got model.lora_rank 4 with model.tuned_blocks 2, but LoRA freezes",
    "lora_rank=4 freeze=backbone": "got model.lora_rank 4 with model.freeze backbone, but LoRA freezes",
    "lora_rank=4 freeze=embeddings": "got model.lora_rank 4 with model.freeze embeddings",
    "lora_alpha=8": "got model.lora_alpha 8.0 without model.lora_rank, expected both",
    "lora_targets=qkv": "got model.lora_targets qkv without model.lora_rank",
    "lora_dropout=0.1": "got model.lora_dropout 0.1 without model.lora_rank",
    "lora_rank=0": "model.lora_rank: got 0, expected 1 or more",
    "lora_rank=97": "model.lora_rank: got 97, expected a number in [1, 96]",
    "lora_rank=2.5": "model.lora_rank: got '2.5', expected a whole number",
    "lora_rank=4 lora_alpha=0": "model.lora_alpha: got 0.0, expected above 0",
    "lora_rank=4 lora_targets=qvk": "got 'qvk', expected of qkv, proj, fc1, fc2; did you mean 'qkv'?",
    "lora_rank=4 lora_targets=[]": "model.lora_targets: got none",
    "lora_rank=4 lora_dropout=1": "model.lora_dropout: got 1.0, expected a number in [0, 1)",
    "tuned_blocks=5": "got tuned_blocks 5, expected 0 (the head alone), 0.5",
    "tuned_blocks=-1": "got tuned_blocks -1, expected 0",
    "tuned_blocks=1.5": "got tuned_blocks 1.5, expected 0",
    "freeze=blocks": "model.freeze: got 'blocks', expected one of 'backbone', 'embeddings'",
}


@pytest.mark.parametrize("flags", CONTRADICTIONS)
@pytest.mark.parametrize("task", ["imagenet_finetune", "coco_maskrcnn"])
def test_what_contradicts_itself_is_one_line(task: str, flags: str) -> None:
    with pytest.raises(UserError) as caught:
        model(task, *flags.split())
    assert CONTRADICTIONS[flags] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_flags_are_those_that_a_task_without_a_trained_backbone_is_said_not_to_have() -> None:
    named = {f"model.{field.name}" for field in fields(AdaptedSettings)} - {
        f"model.{field.name}" for field in fields(TrainedSettings)
    }
    assert named == TUNING
    stacked = load_recipe(find_task("imagenet_linprobe"), "smoke")
    for key in TUNING:
        with pytest.raises(UserError, match=rf"unknown flag '--{key}'; this task never trains its backbone"):
            resolve(stacked, stacked.task.load(), [f"--{key}=1"], training=False)


def test_the_old_key_of_the_linear_head_is_answered_with_the_new_one() -> None:
    with pytest.raises(UserError, match=r"it is model.freeze now: `backbone` for tune_backbone false, null for true"):
        model("ade20k_linear", "tune_backbone=true")
