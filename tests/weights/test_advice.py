"""Advice works: whatever flags a refusal names, the same load with them succeeds, and at once."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.base.model import TransferModel
from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.weights.describe.inspect import inspect
from maekit.weights.describe.uses import uses
from maekit.weights.load.backbone import load_backbone
from maekit.weights.load.classes import file_classes
from maekit.weights.state.state_file import read_state
from tests.numeric import assert_float64
from tests.weights.helpers import decoder, encoder, peer, probe_peer, released

pytestmark = pytest.mark.numeric

FLAG = re.compile(r"--model\.(\w+) (\w+)")
NUMBERS: dict[str, dict[str, Any]] = {
    "mae_pretrain": {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 2},
    "ade20k_upernet": {"taps": [0, 1, 2, 2], "window_stride": 16},
    "coco_maskrcnn": {"taps": [2], "global_blocks": [2], "pos_grid": None},
}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "fine-tuning, mean": ("imagenet_finetune", {"pooling": "mean"}),
    "fine-tuning, class token": ("imagenet_finetune", {"pooling": "class"}),
    "partial": ("imagenet_partial", {"pooling": "mean"}),
    "linear probe": ("imagenet_linprobe", {}),
    "linear probe, mean": ("imagenet_linprobe", {"pooling": "mean"}),
    "segmentation": ("ade20k_upernet", {}),
    "detection": ("coco_maskrcnn", {}),
    "pre-training": ("mae_pretrain", {}),
}


def build(task: str, changes: Mapping[str, Any]) -> TransferModel:
    """The model of a smoke recipe at the test size, for three classes on images of 32 px."""
    values: dict[str, Any] = load_recipe(find_task(task), "smoke").values["model"]
    spec = DataSpec(("cat", "dog", "eel"), (32, 32), ("1", "2", "3"), mean=(0.5,) * 3, std=(0.25,) * 3)
    numbers = {**values, "backbone": "vit_test_patch8", **NUMBERS.get(task, {}), **changes}
    torch.manual_seed(0)
    model: TransferModel = find_task(task).load().Model.build(spec, numbers)
    return model


def of_run(task: str, classes: int) -> Callable[[Path], Path]:
    """A checkpoint of a run of another number of classes."""

    def write(path: Path) -> Path:
        values: dict[str, Any] = load_recipe(find_task(task), "smoke").values["model"]
        names = tuple("abcdefgh"[:classes])
        numbers = {**values, "backbone": "vit_test_patch8", **NUMBERS.get(task, {})}
        ids = tuple(str(number + 1) for number in range(classes))
        model = find_task(task).load().Model.build(DataSpec(names, (32, 32), ids), numbers)
        card = {"class_names": list(names), "class_ids": list(ids), "config": {"model": numbers}, "task": task}
        state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        torch.save({"state_dict": state, "maekit": card}, path)
        return path

    return write


def of(make: Callable[[], Mapping[str, Tensor]], **more: Any) -> Callable[[Path], Path]:
    return lambda path: released(path, dict(make()), **more)


def two_norms() -> dict[str, Tensor]:
    return {**peer(classes=3).state_dict(), "norm.weight": torch.ones(48), "norm.bias": torch.ones(48)}


SOURCES: dict[str, Callable[[Path], Path]] = {
    "encoder": of(encoder),
    "with decoder": of(lambda: {**encoder(), **decoder()}),
    "fine-tuned on the mean": of(lambda: peer(classes=3).state_dict()),
    "fine-tuned on the mean, more classes": of(lambda: peer(classes=5).state_dict()),
    "fine-tuned on the mean, others": of(lambda: peer(classes=3).state_dict(), class_names=["x", "y", "z"]),
    "fine-tuned on the class token": of(lambda: peer(pooling="class", classes=3).state_dict()),
    "fine-tuned on the class token, more": of(lambda: peer(pooling="class", classes=5).state_dict()),
    "linear probe": of(lambda: probe_peer().state_dict()),
    "two norms": of(two_norms),
    "segmentation run": of_run("ade20k_upernet", 4),
    "detection run": of_run("coco_maskrcnn", 4),
}
# What no flag can bring together: a ViT with LayerScale, relative positions or no class token is another ViT.
NEVER = {(source, task) for source in ("segmentation run", "detection run") for task in TASKS} - {
    ("segmentation run", "segmentation"),
    ("detection run", "detection"),
}


def attempt(task: str, changes: dict[str, Any], path: Path) -> str:
    """The refusal's line, or nothing where the weights load."""
    model = build(task, {**changes, "weights": str(path)})
    try:
        report = model.load_start(complete=False)
    except UserError as error:
        return str(error)
    assert report is not None and report.coverage > 0.9
    return ""


@pytest.mark.parametrize("target", TASKS)
@pytest.mark.parametrize("source", SOURCES)
def test_what_a_refusal_advises_works(source: str, target: str, tmp_path: Path) -> None:
    path, (task, settings) = SOURCES[source](tmp_path / "a.pth"), TASKS[target]
    refused = attempt(task, settings, path)
    advised: dict[str, Any] = {name: {"true": True}.get(value, value) for name, value in FLAG.findall(refused)}
    if not refused:
        return
    assert "\n" not in refused
    if (source, target) in NEVER:
        assert "new_head" not in advised, refused
        return
    assert advised, refused
    assert attempt(task, {**settings, **advised}, path) == "", refused


@pytest.mark.parametrize("source", SOURCES)
def test_what_inspect_offers_for_a_linear_probe_works(source: str, tmp_path: Path) -> None:
    path = SOURCES[source](tmp_path / "a.pth")
    use = uses(inspect(path))["linear_probe"]
    flags = {name: value for name, value in FLAG.findall(use.how) if name not in ("weights", "backbone")}
    found = attempt("imagenet_linprobe", {k: v == "true" if k == "new_head" else v for k, v in flags.items()}, path)
    others = source in ("linear probe", "fine-tuned on the mean, others") and "classes" in found
    assert (found == "") == use.possible or others, (use, found)


def test_a_probe_of_weights_fine_tuned_on_the_mean_sees_their_mean(tmp_path: Path) -> None:
    """The features are what timm pools, normalised as its fc_norm does before training."""
    source = peer(classes=3).double()
    path = released(tmp_path / "a.pth", dict(peer(classes=3).state_dict()))
    model = build("imagenet_linprobe", {"pooling": "mean", "new_head": True, "weights": str(path)}).eval()
    model.load_start(complete=False)
    batch = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = source.forward_features(batch)
    plain = tokens[:, 1:].mean(1)
    expected = (plain - plain.mean(1, keepdim=True)) / (plain.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    assert_float64(model.double().pooled(batch), expected.detach())


@pytest.mark.parametrize("recipe", ["base", "large", "huge", "smoke"])
def test_every_task_has_the_recipes_that_are_advised(recipe: str) -> None:
    for task in ("imagenet_finetune", "imagenet_linprobe", "ade20k_upernet", "coco_maskrcnn", "mae_pretrain"):
        assert load_recipe(find_task(task), recipe).values


@pytest.mark.parametrize("to", ["mae", "timm", "hf", "detectron2"])
def test_what_cannot_be_written_is_one_line_with_the_reason(tmp_path: Path, to: Any) -> None:
    with pytest.raises(UserError, match="relative positions and LayerScale"):
        convert(of_run("ade20k_upernet", 4)(tmp_path / "a.ckpt"), to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "to"), [("fine-tuned on the mean", "hf"), ("detection run", "timm"), ("encoder", "detectron2")]
)
def test_the_layout_that_a_refusal_names_can_be_written(tmp_path: Path, make: str, to: Any) -> None:
    path = SOURCES[make](tmp_path / "a.pth")
    with pytest.raises(UserError) as caught:
        convert(path, to, tmp_path / "out")
    advised = re.search(r"--to (\w+)", str(caught.value))
    assert advised is not None
    if make != "encoder":  # whose refusal says what detectron2 is for
        other: Any = advised[1]
        assert convert(path, other, tmp_path / "other.pth")[-1].startswith("wrote")


def test_another_size_names_flags_that_load_it(tmp_path: Path) -> None:
    path = released(tmp_path / "a.pth", encoder())
    refused = attempt("imagenet_finetune", {"backbone": "vit_smoke_patch8"}, path)
    advised = dict(FLAG.findall(refused))
    assert advised == {"backbone": "vit_test_patch8"} and "--recipe" not in refused
    assert attempt("imagenet_finetune", advised, path) == ""


@pytest.mark.parametrize(("task", "what"), [("ade20k_upernet", "LayerScale"), ("coco_maskrcnn", "windows")])
def test_features_of_a_dense_task_are_refused_in_the_words_of_inspect(tmp_path: Path, task: str, what: str) -> None:
    path = of_run(task, 4)(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=what) as caught:
        load_backbone(path, image_size=32)
    assert "BEiT" not in str(caught.value)


def test_detectron2_is_told_its_colours_and_maekit_reads_the_classes_again(tmp_path: Path) -> None:
    path = of_run("coco_maskrcnn", 4)(tmp_path / "a.ckpt")
    contents = torch.load(path, weights_only=True)
    contents["maekit"]["input"] = {"image_size": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    torch.save(contents, path)
    lines = "\n".join(convert(path, "detectron2", tmp_path / "a.pkl"))
    assert 'input_format="RGB"' in lines and "pixel_mean=[123.675, 116.28, 103.53]" in lines
    assert "pixel_std=[58.395, 57.12, 57.375]" in lines
    assert file_classes(read_state(tmp_path / "a.pkl").meta) == (("a", "b", "c", "d"), ("1", "2", "3", "4"))
    order = DataSpec(("d", "c", "b", "a"), (32, 32), ("1", "2", "3", "4"))
    values: dict[str, Any] = load_recipe(find_task("coco_maskrcnn"), "smoke").values["model"]
    numbers = {**values, "backbone": "vit_test_patch8", **NUMBERS["coco_maskrcnn"], "weights": str(tmp_path / "a.pkl")}
    model: TransferModel = find_task("coco_maskrcnn").load().Model.build(order, numbers)
    report = model.load_start(complete=True)
    assert report is not None and "another order" in report.classes
    name = "head.detector.roi_heads.box_predictor.cls_score.bias"
    assert torch.equal(model.state_dict()[name][:4], contents["state_dict"][f"model.{name}"][:4].flip(0))
