"""The linear probe: only the classifier learns, without a graph below it, on BatchNorm of the device's own batch."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maekit.api import Session, build
from maekit.base.checkpoint_card import read_card
from maekit.base.spec import DataSpec, Draw
from maekit.classification.cached_features import CachedFeatures
from maekit.classification.metrics import ClassificationMetrics
from maekit.data.images.batch import ImageBatch
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.system.hardware import autocast_of
from maekit.weights.read.safe_load import load_file
from tests.conftest import few_digits
from tests.helpers_model import optimisation
from tests.numeric import assert_float64, assert_fp32, assert_fp32_model

pytestmark = pytest.mark.numeric


def probe(recipe: str = "smoke", spec: DataSpec | None = None, *flags: str) -> Any:
    stacked = load_recipe(find_task("imagenet_linprobe"), recipe)
    module = stacked.task.load()
    values = resolve(stacked, module, flags, training=False).values["model"]
    torch.manual_seed(0)
    return module.Model.build(spec or DataSpec(("a", "b", "c"), (16, 16)), values)


def batch(size: int = 6) -> ImageBatch:
    images = torch.randn(size, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return ImageBatch(images, torch.arange(size) % 3, torch.arange(size))


def session(folder: Path, **overrides: Any) -> Session:
    values = {
        "model.backbone": "vit_test_patch8",
        "model.weights": "none",
        "data.root": str(few_digits()),
        "data.total_batch_size": 16,
        "data.device_batch_size": 8,
        "data.num_workers": 0,
        "trainer.max_steps": 8,
        "trainer.precision": "32-true",
        "trainer.check_val_every_n_epoch": 1,
        "trainer.log_every_n_steps": 1,
        "run.folder": str(folder),
    }
    return build("imagenet_linprobe", "smoke", {**values, **{k.replace("__", "."): v for k, v in overrides.items()}})


@pytest.mark.parametrize("recipe", ["huge", "base", "large", "base_cached", "smoke"])
def test_only_the_classifier_is_trained(recipe: str) -> None:
    with torch.device("meta"):
        model = probe(recipe, DataSpec(tuple(map(str, range(1000))), (224, 224)))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.fc.weight", "head.fc.bias"]
    rows = optimisation("imagenet_linprobe", recipe).rows(model, model.backbone, 16384)
    assert {row.name: row.weight_decay for row in rows} == {"head.fc.weight": 0.0, "head.fc.bias": 0.0}
    if recipe != "smoke":
        assert {row.lr for row in rows} == {6.4}


def test_the_frozen_forward_keeps_no_graph() -> None:
    model = probe()
    saved: list[torch.Size] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train().training_losses(batch())["loss"]
    assert all(len(shape) <= 2 for shape in saved), saved  # the head's own; tokens would be [B, N, D]
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["head.fc.weight", "head.fc.bias"]


@pytest.mark.usefixtures("float64")
def test_loss_and_statistics_are_their_formulas() -> None:
    model = probe().train()
    images = batch()._replace(image=batch().image.double())
    features = model.backbone(images.image).tokens[:, 0].detach()
    mean, variance = features.mean(0), features.var(0, unbiased=False)
    scaled = (features - mean) / (variance + 1e-6).sqrt()
    logits = scaled @ model.head.fc.weight.T + model.head.fc.bias
    expected = -(logits.log_softmax(-1)[torch.arange(6), images.label]).mean()
    found = model.training_losses(images)["loss"]
    assert_fp32(found, expected)  # computed in float64, then cast: losses are fp32
    running = model.head.fc_norm
    assert_float64(running.running_mean, 0.1 * mean)
    assert_float64(running.running_var, 0.9 + 0.1 * features.var(0, unbiased=True))


def test_a_device_batch_of_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"got a device batch of 1, expected 2 or more.*--data.device_batch_size"):
        probe().train().training_losses(batch(1))


def test_a_run_changes_the_classifier_and_nothing_of_the_backbone(tmp_path: Path) -> None:
    run = session(tmp_path)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    result = run.fit()
    assert result["status"] == "finished"
    state: Any = load_file(Path(result["folder"]) / "last.ckpt")
    changed = [name for name, tensor in before.items() if not torch.equal(state["state_dict"][f"model.{name}"], tensor)]
    assert sorted(changed) == [
        "head.fc.bias",
        "head.fc.weight",
        "head.fc_norm.num_batches_tracked",
        "head.fc_norm.running_mean",
        "head.fc_norm.running_var",
    ]
    assert state["state_dict"]["model.head.fc_norm.num_batches_tracked"] == 16  # 8 steps of two device batches


def test_batch_norm_is_never_synchronised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sync_batchnorm"):
        session(tmp_path, trainer__sync_batchnorm=True).fit()


# cached features


def features(run: Session) -> CachedFeatures:
    data = run.model.training_data(run.data, torch.device("cpu"))
    assert isinstance(data, CachedFeatures)
    return data


def test_cached_features_are_the_backbones_of_every_image(tmp_path: Path) -> None:
    run = session(tmp_path, model__cached_features=True)
    data = features(run)
    backbone = run.model.eval().backbone
    for stored, images in ((data.train_dataset(0), run.data.plain_train_dataset()), (data.val_dataset(), None)):
        images = images or run.data.val_dataset()
        assert len(stored) == len(images)
        for index in (0, 7, len(images) - 1):
            picture, label, _ = images[Draw(0, index)]
            feature, found, at = stored[Draw(5, index)]
            assert_fp32_model(feature, backbone, picture[None], lambda vit, images: vit(images).tokens[0, 0])
            assert (found, at) == (label, index)


@pytest.mark.parametrize(("precision", "half"), [("32-true", False), ("bf16-mixed", True)])
def test_features_are_cached_in_the_runs_own_precision(precision: str, half: bool, tmp_path: Path) -> None:
    """They were in bfloat16 wherever the CPU has it, whatever `--trainer.precision` said."""
    run = session(tmp_path, model__cached_features=True, trainer__precision=precision, trainer__max_steps=1)
    seen: list[bool] = []
    run.model.backbone.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    with autocast_of(precision, "cpu"):
        folder = features(run).folder
    with autocast_of("32-true", "cpu"):
        assert (features(run).folder == folder) != half
    shutil.rmtree(folder)
    seen.clear()
    run.fit()
    assert set(seen) == {half}
    assert folder.is_dir()


def test_a_gathered_batch_is_the_samples_one_by_one(tmp_path: Path) -> None:
    run = session(tmp_path, model__cached_features=True)
    stored = features(run).val_dataset()
    draws = [Draw(0, 3), Draw(0, -1), Draw(0, 0)]
    whole, single = (
        CachedFeatures.collate(stored.__getitems__(draws)),
        CachedFeatures.collate([stored[d] for d in draws]),
    )
    for one, other in zip(whole, single, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert whole.index.tolist() == [3, -1, 0]


def test_other_weights_other_features_and_the_same_are_reused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = session(tmp_path, model__cached_features=True, data__image_size=24)
    first = features(run).folder
    assert "80 train and 20 val images through the backbone once, without augmentation" in capsys.readouterr().out
    assert features(run).folder == first
    assert capsys.readouterr().out == ""
    with torch.no_grad():
        run.model.backbone.get_parameter("norm.bias")[0] += 1
    assert features(run).folder != first


def test_a_killed_extraction_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = session(tmp_path, model__cached_features=True, data__image_size=32)
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            features(run)
    assert [path.suffix for path in (tmp_path / "cache/features").iterdir()] == [".lock"]
    assert len(features(run).val_dataset()) == 20


def test_a_cached_run_validates_as_the_images_do_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = session(tmp_path, model__cached_features=True).fit()
    assert "augmentation frozen (not the paper's protocol)" in capsys.readouterr().out
    run = Path(result["folder"])
    found = session(tmp_path, model__cached_features=True).validate(run / "last.ckpt")
    assert found["top1"] == result["val"]["top1"]
    assert found["loss"] == pytest.approx(result["val"]["loss"], rel=1e-4)
    more = session(tmp_path, model__cached_features=True, trainer__max_steps=11, run__extend=True)
    again = more.fit(run / "last.ckpt")
    assert (again["status"], read_card(run / "last.ckpt").step) == ("finished", 11)


def test_features_may_be_read_by_workers(tmp_path: Path) -> None:
    result = session(tmp_path, model__cached_features=True, data__num_workers=2, trainer__max_steps=3).fit()
    assert result["status"] == "finished"


def test_an_open_feature_file_does_not_travel_to_workers(tmp_path: Path) -> None:
    run = session(tmp_path, model__cached_features=True)
    stored = features(run).val_dataset()
    assert stored.features.shape == (20, 48)
    assert stored.__getstate__()["_features"] is None


DINOV2 = ("--model.pooling=class_mean", "--model.batch_norm=false")


@pytest.mark.usefixtures("float64")
def test_a_probe_as_dinov2s_is_its_formula() -> None:
    """Its `create_linear_input`: class token and mean of the patch tokens, both normed, without registers."""
    model = probe(
        "smoke", None, *DINOV2, "--model.backbone=vit_smoke_patch8_reg4_dinov2", "--model.weights=none"
    ).train()
    images = batch()._replace(image=batch().image.double())
    tokens = model.backbone(images.image).tokens
    assert tokens.shape[1] == 1 + 4 + 4
    both = torch.cat([tokens[:, 0], tokens[:, 5:].sum(1) / 4], dim=1)
    logits = both @ model.head.fc.weight.T + model.head.fc.bias
    assert_float64(model(images.image), logits)
    expected = -(logits.log_softmax(-1)[torch.arange(6), images.label]).mean()
    assert_fp32(model.training_losses(images)["loss"], expected)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.fc.weight", "head.fc.bias"]


def test_without_batch_norm_a_device_batch_of_one_trains() -> None:
    probe("smoke", None, *DINOV2).train().training_losses(batch(1))["loss"].backward()


D2_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)  # its --learning-rates


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        ("dinov2_base", [4 * rate for rate in D2_RATES]),
        ("dinov2_small_reg4", [4 * rate for rate in D2_RATES]),
        ("mocov3_small", [12.0]),
        ("mocov3_base", [12.0]),
        ("dino_base", [0.004]),
    ],
)
def test_probes_of_other_pre_trainings_train_their_classifiers_by_sgd(recipe: str, rates: list[float]) -> None:
    with torch.device("meta"):
        model = probe(recipe, DataSpec(tuple(map(str, range(1000))), (224, 224)))
    optimizer = optimisation("imagenet_linprobe", recipe).make_optimizer(model, model.backbone, 1024)
    assert isinstance(optimizer, torch.optim.SGD)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(rates)
    assert {(group["momentum"], group["weight_decay"]) for group in optimizer.param_groups} == {(0.9, 0.0)}
    both = 2 if recipe.startswith("dino") else 1
    weights = [p for name, p in model.head.named_parameters() if name.endswith("weight")]
    assert [tuple(p.shape) for p in weights] == len(rates) * [(1000, both * model.backbone.embed_dim)]


def test_cached_features_of_both_tokens_are_not_taken_for_those_of_one(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"model.cached_features": True, "trainer.max_steps": 1}
    one, two = session(tmp_path, **flags), session(tmp_path, **flags, **{"model.pooling": "class_mean"})
    one.fit()
    two.fit()
    one_head, two_head = (run.model.get_submodule("head.fc") for run in (one, two))
    assert isinstance(one_head, torch.nn.Linear)
    assert isinstance(two_head, torch.nn.Linear)
    assert two_head.in_features == 2 * one_head.in_features


SEVERAL = ("--model.batch_norm=false", "--model.lr_factors=[0.1,1,0.5]")


def test_classifiers_side_by_side_learn_as_each_would_alone() -> None:
    """Torch's own SGD on one classifier at a time, at its own rate, gives the same weights, bit for bit."""
    torch.manual_seed(3)
    model = probe("dinov2_base", None, "--model.backbone=vit_test_patch8", *SEVERAL)
    optimizer = optimisation("imagenet_linprobe", "dinov2_base").make_optimizer(model, model.backbone, 1024)
    peak = optimisation("imagenet_linprobe", "dinov2_base").peak_lr(1024)
    names = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert names == {
        "head_no_decay": peak, "head_no_decay_x0.1": pytest.approx(0.1 * peak), "head_no_decay_x0.5": 0.5 * peak,
    }  # fmt: skip
    features = model.pooled(batch().image)
    alone = [copy.deepcopy(fc) for fc in model.head.classifiers]
    for _ in range(3):
        optimizer.zero_grad()
        model.training_losses(batch())["loss"].backward()
        optimizer.step()
    for fc, group, factor in zip(alone, model.head.classifiers, (0.1, 1.0, 0.5), strict=True):
        own = torch.optim.SGD(fc.parameters(), lr=peak * factor, momentum=0.9)
        for _ in range(3):
            own.zero_grad()
            torch.autograd.backward(torch.nn.functional.cross_entropy(fc(features), batch().label))
            own.step()
        torch.testing.assert_close(fc.weight, group.weight)
        assert not torch.equal(fc.weight, alone[0].weight) or fc is alone[0]


def test_the_best_classifier_on_the_validation_images_counts() -> None:
    model = probe("smoke", None, *SEVERAL).eval()
    right, images = model.head.classifiers[2], batch()
    features = model.pooled(images.image)
    with torch.no_grad():  # solve for its weights, so that it alone is right on every image
        targets = torch.nn.functional.one_hot(images.label, 3).float()
        right.weight.copy_(torch.linalg.lstsq(features, targets).solution.T)
    metrics = model.new_metrics()
    model.update_metrics(metrics, images)
    values = metrics.compute()
    assert (values["top1"].item(), values["classifier"].item()) == (100.0, 2.0)
    alone = ClassificationMetrics()
    alone.update(right(features), images.label, images.index)
    assert values["loss"] == alone.compute()["loss"]
    assert model.results(metrics)["confusion.json"]["counts"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    model.measured = {"classifier": 2.0}  # as a run sets it after a validation, and a checkpoint brings it
    torch.testing.assert_close(model(images.image), right(features))


def test_a_run_of_several_classifiers_keeps_its_best_and_predicts_with_it(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"model.batch_norm": False, "model.lr_factors": [1e-6, 1.0], "trainer.max_steps": 48}
    flags |= {"optim.optimizer": "sgd", "optim.trust_coefficient": None, "optim.base_lr": 8.0, "optim.warmup_epochs": 0}
    run = session(tmp_path, **flags)
    result = run.fit()
    assert result["val"]["classifier"] == 1.0  # the other one hardly moves
    assert read_card(Path(result["folder"]) / "best.ckpt")
    again = session(tmp_path / "again", **flags)
    found = again.validate(str(Path(result["folder"]) / "last.ckpt"))
    assert found["top1"] == pytest.approx(result["val"]["top1"])
    assert again.model.measured == {"classifier": 1.0}
    paused = session(tmp_path / "paused", **flags, **{"run.stop_at_step": 24}).fit()
    resumed = session(tmp_path / "paused", **flags).fit(ckpt_path=Path(paused["folder"]))
    whole, parts = (load_file(Path(one["folder"]) / "last.ckpt") for one in (result, resumed))
    assert isinstance(whole, dict)
    assert isinstance(parts, dict)
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(parts["state_dict"][name], tensor), name


TWICE = r"model.lr_factors: got \[1.0, 1.0\], expected each factor once"
NORMED = r"got model.lr_factors with model.batch_norm true, expected false.*add --model.batch_norm false"


@pytest.mark.parametrize(
    ("flags", "text"),
    [(("--model.lr_factors=[1,1]", "--model.batch_norm=false"), TWICE), (("--model.lr_factors=[0.1,1]",), NORMED)],
)
def test_bad_factors_are_one_line(flags: tuple[str, ...], text: str) -> None:
    with pytest.raises(UserError, match=text):
        probe("smoke", None, *flags)
