"""Every family trains and evaluates images of one and of 13 channels, from weights of three."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.base.checkpoint_card import Card
from maekit.base.spec import RGB, DataSpec
from maekit.errors import UserError
from maekit.pretraining.pictures import row_of
from maekit.pretraining.target import patchify, unpatchify
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task

GREY, MANY = ("grey",), (*RGB, *(f"B{number}" for number in range(10)))
SIDES = {"imagenet_finetune": 32, "imagenet_linprobe": 32, "ade20k_upernet": 64, "ade20k_linear": 64}
SIDES |= {"coco_maskrcnn": 64, "mae_pretrain": 64}


def model(task: str, bands: tuple[str, ...], *flags: str) -> Any:
    stacked = load_recipe(find_task(task), "smoke")
    module = stacked.task.load()
    words = [f"--model.{flag}" for flag in flags]
    values = resolve(stacked, module, words, training=False).values["model"]
    torch.manual_seed(0)
    half = (0.5,) * len(bands)
    spec = DataSpec(tuple(map(str, range(10))), (SIDES[task],) * 2, mean=half, std=half, bands=bands)
    return module.Model.build(spec, values).train()


@pytest.mark.parametrize("bands", [GREY, MANY])
@pytest.mark.parametrize("task", SIDES)
def test_each_family_trains_on_any_number_of_bands(task: str, bands: tuple[str, ...]) -> None:
    flags = ("weights=mae_vit_smoke", *(["new_head=true"] if task == "mae_pretrain" else []))
    net = model(task, bands, *flags)
    report = net.load_start(complete=False)
    assert report.bands
    assert report.bands[0].startswith("grey: the sum" if bands == GREY else "R, G, B: by name")
    batch = net.example_batch(2)
    assert batch.image.shape[1] == len(bands)
    batch = batch._replace(image=torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(3)))
    loss = net.training_losses(net.drawn(batch))["loss"]
    assert torch.isfinite(loss)
    if task == "imagenet_linprobe":
        return
    loss.backward()
    filters = net.backbone.patch_embed.proj.weight
    assert filters.shape[1] == len(bands)
    assert filters.grad.abs().sum((0, 2, 3)).min() > 0


@pytest.mark.parametrize("bands", [GREY, ("a", "b"), MANY])
def test_a_masked_autoencoder_reconstructs_any_bands(bands: tuple[str, ...]) -> None:
    net = model("mae_pretrain", bands, "weights=none").eval()
    images = torch.rand(2, len(bands), 64, 64) * 2 - 1
    assert torch.equal(unpatchify(patchify(images, 8), 8, (8, 8)), images)
    found = net.reconstruct(images, net.seeded_noise(images, [1, 2]))
    assert torch.allclose(found.original, images / 2 + 0.5, atol=1e-6)
    hidden = unpatchify(found.masked_patches[..., None].expand(-1, -1, 64), 8, (8, 8)).expand_as(images)
    assert torch.equal(found.pasted[~hidden], found.original[~hidden])
    assert torch.equal(found.pasted[hidden], found.prediction[hidden])
    assert [picture.mode for picture in row_of(found, 0)] == ["RGB"] * 4


def test_a_decoder_of_other_bands_asks_for_a_fresh_one() -> None:
    with pytest.raises(UserError, match="new_head"):
        model("mae_pretrain", MANY, "weights=mae_vit_smoke").load_start(complete=False)


def test_weights_are_not_measured_on_bands_they_were_not_trained_on() -> None:
    with pytest.raises(UserError, match="to measure them") as error:
        model("imagenet_finetune", MANY, "weights=mae_vit_smoke").load_start(complete=True)
    assert "\n" not in str(error.value)


def test_a_run_does_not_go_on_with_data_of_other_bands() -> None:
    spec = DataSpec(("a", "b"), (32, 32), bands=MANY)
    card = Card("imagenet_finetune", "smoke", {}, spec, {}, 0)
    card.require_classes(spec, Path("last.ckpt"))
    with pytest.raises(UserError, match="expected R, G, B, B0"):
        card.require_classes(DataSpec(("a", "b"), (32, 32)), Path("last.ckpt"))
    with pytest.raises(UserError, match="does not say how files of them are read"):
        card.require_readable(Path("last.ckpt"))


@pytest.mark.parametrize("flag", ["freeze=embeddings", "tuned_blocks=1", "lora_rank=2"])
def test_frozen_filters_are_said_and_are_never_fresh(flag: str) -> None:
    net = model("imagenet_finetune", MANY, "weights=mae_vit_smoke", flag)
    assert "not trained" in net.load_start(complete=False).bands[-1]
    with pytest.raises(UserError, match="new_bands mean"):
        model("imagenet_finetune", MANY, "weights=mae_vit_smoke", flag, "new_bands=fresh").load_start(complete=False)


def test_the_same_bands_say_nothing() -> None:
    assert model("imagenet_finetune", RGB, "weights=mae_vit_smoke").load_start(complete=False).bands == ()
