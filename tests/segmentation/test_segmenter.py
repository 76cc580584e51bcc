"""The segmentation model: mmsegmentation's MAE with UperNet gives the same numbers, and its checkpoint loads."""

import copy
import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from maekit.base.spec import DataSpec
from maekit.cli import main
from maekit.errors import UserError
from maekit.segmentation.data.dataset import SegBatch, SegEvalBatch
from maekit.segmentation.head.pixel_loss import pixel_cross_entropy
from tests.helpers_model import optimisation
from tests.numeric import SEEDS, assert_float64, assert_fp32, fp32_errors, moved
from tests.segmentation import mmseg_peer
from tests.segmentation.helpers import CLASSES, SIDE, model

pytestmark = pytest.mark.numeric


def peer() -> nn.Module:
    """mmsegmentation's four parts, with random numbers in every parameter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = mmseg_peer.mmseg().backbones.MAE(
            img_size=(SIDE, SIDE),
            patch_size=8,
            embed_dims=48,
            num_layers=3,
            num_heads=2,
            out_indices=(0, 1, 2),
            init_values=1.0,
            norm_cfg={"type": "LN", "eps": 1e-6},
        )
    whole = nn.Module()
    whole.backbone, whole.neck = backbone, mmseg_peer.pyramid(48)
    whole.decode_head = mmseg_peer.uper_head([48] * 4, 24, CLASSES, 0.1)
    whole.auxiliary_head = mmseg_peer.fcn_head(48, 16, CLASSES, 1, 0.1)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in whole.state_dict().items():
        if tensor.is_floating_point():
            draws = torch.randn(tensor.shape, generator=generator)
            fan = tensor[0].numel() if tensor.dim() > 1 else 1
            tensor.copy_(draws.abs() + 0.5 if name.endswith("running_var") else 0.5 * draws / fan**0.5)
    return whole.eval()


def their_maps(whole: Any, images: Tensor) -> list[Tensor]:
    taps = whole.backbone(images)
    return [taps[0], taps[1], taps[1], taps[2]]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Our model with the weights of a checkpoint that has mmsegmentation's names, and theirs."""
    theirs, path = peer(), tmp_path_factory.mktemp("mmseg") / "iter_160000.pth"
    torch.save({"meta": {"iter": 160000}, "state_dict": theirs.state_dict()}, path)
    ours = model(weights=path)
    report = ours.load_start(complete=True)
    assert report is not None
    assert report.coverage == 1.0
    assert not report.new
    assert all(name.endswith("relative_position_index") for name in report.unused)
    assert "mmsegmentation, segmentation with UperNet or another decode head" in report.lines()[0]
    return ours.eval(), theirs


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def labels(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    found = torch.randint(CLASSES, (batch, SIDE, SIDE), generator=generator)
    found[torch.rand(found.shape, generator=generator) < 0.2] = 255
    return found


@pytest.mark.usefixtures("float64")
def test_taps_pyramid_and_logits_equal_mmsegmentations(loaded: tuple[Any, Any]) -> None:
    ours, theirs = (copy.deepcopy(part).double() for part in loaded)
    with torch.no_grad():
        maps, expected = ours.backbone(images(), taps=ours.taps).maps, their_maps(theirs, images())
        for one, other in zip(maps, expected, strict=True):
            assert_float64(one, other)
        scales = theirs.neck(expected)
        for one, other in zip(ours.head.pyramid(maps), scales, strict=True):
            assert_float64(one, other)
        decode, auxiliary = ours.head.both(maps)
        assert_float64(decode, theirs.decode_head(scales))
        assert_float64(auxiliary, theirs.auxiliary_head([scales[2]]))


@pytest.mark.usefixtures("float64")
def test_both_losses_equal_mmsegmentations(loaded: tuple[Any, Any]) -> None:
    ours, theirs = (copy.deepcopy(part).double() for part in loaded)
    scales = theirs.neck(their_maps(theirs, images()))
    decode = mmseg_peer.loss_of(theirs.decode_head, theirs.decode_head(scales), labels())
    auxiliary = mmseg_peer.loss_of(theirs.auxiliary_head, theirs.auxiliary_head([scales[2]]), labels())

    def losses(pictures: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = ours.training_losses(SegBatch(pictures, labels(), torch.arange(2)))
        return found

    found = losses(images())
    errors = fp32_errors(found, [losses(moved(images(), seed)) for seed in SEEDS])  # losses are computed in fp32
    for name, value in {"decode": decode, "auxiliary": auxiliary, "loss": decode + 0.4 * auxiliary}.items():
        assert_fp32(found[name], value, errors[name], name)


def test_a_whole_evaluation_equals_mmsegmentations(loaded: tuple[Any, Any]) -> None:
    """Sliding windows, resizing to the file's size, and the three metrics, over images of two sizes."""
    ours, theirs = loaded
    pictures = [torch.randn(3, 64, 150, generator=torch.Generator().manual_seed(4)), images(1)[0]]
    truths = [
        torch.randint(CLASSES, size, generator=torch.Generator().manual_seed(5)) for size in ((90, 200), (70, 64))
    ]
    metrics = ours.new_metrics()
    ours.update_metrics(metrics, SegEvalBatch(pictures, truths, torch.tensor([0, 1])))
    hits = []
    for picture, truth in zip(pictures, truths, strict=True):
        logits = slide_of_theirs(theirs, picture)
        resized = nn.functional.interpolate(logits[None], truth.shape, mode="bilinear")[0]
        predicted = resized.argmax(0)
        assert (ours.labels(picture, (truth.shape[0], truth.shape[1])) != predicted).float().mean() < 1e-3
        hits.append(confusion(predicted, truth))
    matrix = np.sum(hits, axis=0)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    assert float(metrics.compute()["mIoU"]) == pytest.approx(100 * np.mean(matrix.diagonal() / union), abs=0.05)
    assert float(metrics.compute()["aAcc"]) == pytest.approx(100 * matrix.trace() / matrix.sum(), abs=0.05)


def slide_of_theirs(theirs: Any, picture: Tensor) -> Tensor:
    """mmsegmentation's own sliding over its own modules."""
    segmentor = mmseg_peer.mmseg().segmentors.EncoderDecoder

    class Stub:
        num_classes, out_channels, align_corners = CLASSES, CLASSES, False
        test_cfg = importlib.import_module("mmengine").ConfigDict(stride=(42, 42), crop_size=(SIDE, SIDE))

        def encode_decode(self, crop: Tensor, metas: Any) -> Tensor:
            logits = theirs.decode_head(theirs.neck(their_maps(theirs, crop)))
            return nn.functional.interpolate(logits, crop.shape[2:], mode="bilinear", align_corners=False)

    with torch.no_grad():
        found: Tensor = segmentor.slide_inference(Stub(), picture[None], [{}])[0]
    return found


def confusion(predicted: Tensor, truth: Tensor) -> np.ndarray:
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (truth.numpy().ravel(), predicted.numpy().ravel()), 1)
    return counts


@pytest.mark.parametrize(("recipe", "rate", "depth"), [("base", 0.65, 12), ("large", 0.75, 24)])
def test_layer_decay_equals_mmsegmentations(recipe: str, rate: float, depth: int) -> None:
    mmseg_peer.mmseg()
    layers = importlib.import_module("mmseg.engine.optimizers.layer_decay_optimizer_constructor")
    with torch.device("meta"):
        net = model(DataSpec(tuple(map(str, range(150))), (512, 512)), recipe)
    rows = optimisation("ade20k_upernet", recipe).rows(net, net.backbone, 16)
    assert {row.layer for row in rows} == set(range(depth + 2))
    for row in rows:
        name = row.name.replace("backbone.blocks", "backbone.layers")  # what their constructor looks for
        theirs = layers.get_layer_id_for_vit(name, depth + 2)
        assert row.lr_scale == pytest.approx(rate ** (depth + 1 - theirs)), row.name
        exempt = row.name.endswith(".bias") or net.get_parameter(row.name).ndim == 1
        assert row.weight_decay == (0.0 if exempt else 0.05), row.name


def test_a_device_batch_of_one_is_refused() -> None:
    net = model().train()
    with pytest.raises(UserError, match=r"got a device batch of 1, expected 2 or more.*--data.device_batch_size"):
        net.training_losses(SegBatch(images(1), labels(1), torch.arange(1)))


def test_a_head_of_other_classes_is_refused(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": peer().state_dict()}, tmp_path / "a.pth")
    net = model(DataSpec(tuple("abc"), (SIDE, SIDE)), weights=tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"got 7 classes in its segmentation head, expected 3") as caught:
        net.load_start(complete=True)
    assert "\n" not in str(caught.value)


def test_four_taps_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"model.taps: got \[0, 1\], expected 4 numbers"):
        model(taps="[0,1]")


def test_padding_counts_nothing() -> None:
    net = model().eval()
    metrics = net.new_metrics()
    net.update_metrics(metrics, SegEvalBatch([images(1)[0]], [labels(1)[0]], torch.tensor([-1])))
    assert not metrics.confusion.any()


def test_a_run_keeps_its_table_and_pictures_and_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["--model.backbone=vit_test_patch8", "--model.weights=none"]
    small = [*tiny, "--model.taps=[0,1,1,2]", "--data.num_workers=0"]
    short = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.limit_val_batches=1"]
    assert main(["fit", "--task", "ade20k_upernet", "--recipe", "smoke", *small, *short]) == 0
    run = tmp_path / "runs/ade20k_upernet/smoke/0"
    assert (run / "pictures/step_0000002.png").stat().st_size > 1000
    assert "background" in (run / "val_table.txt").read_text()
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (90, 40), (200, 30, 30)).save(photos / "a.png")
    Image.new("RGB", (1, 300), (200, 30, 30)).save(photos / "thin.png")
    assert main(["predict", "--ckpt_path", str(run / "best.ckpt"), "--images", "photos", "--output", "out"]) == 0
    for name, size in (("a", (90, 40)), ("thin", (1, 300))):
        with Image.open(tmp_path / f"out/{name}_labels.png") as predicted:
            assert predicted.size == size
    assert "2 images -> " in capsys.readouterr().out


def test_own_label_maps_are_coded_alike_in_a_run_and_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is decided from the label maps is kept with the run; what cannot be right ends before the run begins."""
    monkeypatch.chdir(tmp_path)
    for split, part in ((s, p) for s in ("train", "val") for p in ("images", "masks")):
        (tmp_path / "mine" / part / split).mkdir(parents=True)
    for number in range(6):
        split = "val" if number < 2 else "train"
        values = np.zeros((64, 64), np.uint8)
        values[10 : 20 + number, 5:40] = 255
        Image.fromarray(values).save(tmp_path / f"mine/masks/{split}/{number}.png")
        Image.fromarray(np.stack([values] * 3, axis=2) // 2).save(tmp_path / f"mine/images/{split}/{number}.png")
    (tmp_path / "mine/classes.txt").write_text("background\nobject\n")
    tiny = [
        "--model.backbone=vit_test_patch8",
        "--model.weights=none",
        "--model.taps=[0,1,1,2]",
        "--data.num_workers=0",
    ]
    few = ["--data.total_batch_size=2", "--data.device_batch_size=2", "--optim.lr=1e-4", "--trainer.max_steps=2"]
    fit = ["fit", "--task", "ade20k_upernet", "--recipe", "smoke", "--data.root=mine", *tiny, *few]
    assert main(fit) == 2
    assert "--data.label_values [0,255]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main([*fit, "--data.label_values=[0,255]"]) == 0
    run = tmp_path / "runs/ade20k_upernet/smoke/0"
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert (data["reduce_zero_label"], data["label_values"]) == (False, [0, 255])
    assert main(["validate", "--ckpt_path", str(run), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["mIoU"] == pytest.approx(json.loads((run / "metrics.json").read_text())["val"]["mIoU"])


def test_both_losses_weigh_the_classes_as_a_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.csv").write_text("".join(f"{label},{label + 1}\n" for label in range(CLASSES)))
    net = model(class_weights=str(tmp_path / "w.csv")).eval()
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    batch = SegBatch(images, torch.arange(2 * SIDE * SIDE).view(2, SIDE, SIDE) % CLASSES, torch.arange(2))
    losses, parts = net.training_losses(batch), net.head.both(net.maps(images))
    for name, logits in zip(("decode", "auxiliary"), parts, strict=True):
        expected = pixel_cross_entropy(logits, batch.label, weights=torch.arange(1.0, CLASSES + 1))
        torch.testing.assert_close(losses[name], expected)
    net.training_data(None, torch.device("cpu"))
    assert "a pixel counts 1 ('0') to 7 ('6')" in capsys.readouterr().out
    with pytest.raises(UserError, match="class_weights: got auto, expected none or a file"):
        model(class_weights="auto")
