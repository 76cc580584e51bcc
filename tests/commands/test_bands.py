"""Data of bands in every family, as a user has them: fit, pictures, predict, validate, reconstruct, features."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import maekit
from maekit import cli
from maekit.base.spec import Draw
from maekit.data.images.bands.flags import BandFlags
from maekit.data.images.bands.make_stats import make_stats
from maekit.data.images.bands.stats_file import write_stats
from tests.conftest import TINY, few_digits
from tests.helpers_families import few_labelled, few_objects, few_plain

NAMES = "A1,A2,A3,A4,A5,B,G,R,Z1,Z2,Z3,Z4,Z5"
VALUES: dict[str, Any] = {flag[2:].split("=")[0]: flag.split("=")[1] for flag in TINY}


def session(root: Path, **more: Any) -> maekit.Session:
    values = VALUES | {"data.root": str(root), "model.backbone": "vit_smoke_patch8", "model.weights": "mae_vit_smoke"}
    return maekit.build(
        "imagenet_finetune", "smoke", values | {key.replace("__", "."): each for key, each in more.items()}
    )


def as_cubes(root: Path) -> None:
    """Gives each picture below a folder ten bands more, and lets the annotation files name the new files."""
    rng = np.random.default_rng(0)
    for file in sorted(root.rglob("*.*")):
        if file.suffix.lower() in (".jpg", ".png", ".jpeg") and "annotations" not in file.parts:
            rgb = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32)
            more = rng.normal(0, 100, (*rgb.shape[:2], 10)).astype(np.float32)
            np.save(file.with_suffix(".npy"), np.concatenate([more[..., :5], rgb[..., ::-1] * 20, more[..., 5:]], 2))
            file.unlink()
        if file.suffix == ".json":
            file.write_text(file.read_text().replace(".png", ".npy"))


def measured(root: Path, files: list[Path], names: str | None) -> Path:
    asked = BandFlags(file_bands=names).asked_bands()
    write_stats(root / "stats.json", make_stats([str(file) for file in files], asked)[0])
    return root / "stats.json"


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The few digits as grey pictures, with their statistics."""
    root = tmp_path_factory.mktemp("grey")
    for file in few_digits().rglob("*.JPEG"):
        place = (root / file.relative_to(few_digits())).with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("L").save(place)
    measured(root, sorted((root / "train").rglob("*.png")), None)
    return root


def test_grey_as_one_channel_is_grey_repeated_to_three(grey: Path) -> None:
    """Through files, statistics, evaluation and the released filters, whose sum one channel gets."""
    tokens = []
    for flags in ({}, {"data__bands": "grey"}):
        run = session(grey, **flags)
        run.model.load_start(complete=False)
        images = torch.stack([run.data.val_dataset()[Draw(0, index)][0] for index in range(20)])
        assert images.shape[1] == (1 if flags else 3)
        with torch.no_grad():
            tokens.append(run.model.backbone.eval()(images).tokens)
    assert (tokens[0] - tokens[1]).abs().max() < 1e-5


def test_any_order_of_red_green_and_blue_is_the_published_path(tmp_path: Path) -> None:
    plain, other = (session(few_digits(), **flags) for flags in ({}, {"data__bands": "B,G,R"}))
    assert plain.data.spec() == other.data.spec()
    assert plain.data.input_transform() == other.data.input_transform()
    assert plain.data.identity() == other.data.identity()
    for make in ("train", "val"):
        ours, theirs = (
            run.data.train_dataset(0) if make == "train" else run.data.val_dataset() for run in (plain, other)
        )
        assert all(torch.equal(ours[Draw(1, i)][0], theirs[Draw(1, i)][0]) for i in range(len(ours)))


def few_cubes(task: str, root: Path) -> dict[str, Any]:
    """Writes the family's smallest data as arrays of thirteen bands; returns the flags."""
    flags: dict[str, Any] = {"data.root": str(root)}
    match task:
        case "ade20k_upernet":
            flags = few_labelled(root) | {"data.total_batch_size": 3, "optim.lr": 1e-3}
        case "coco_maskrcnn":
            flags = few_objects(root)
        case "mae_pretrain":
            flags = few_plain(root) | flags | {"data.probe_root": None}
    if task in ("imagenet_finetune", "mae_pretrain"):
        shutil.copytree(few_digits(), root)
    as_cubes(root)
    measured(root, sorted(root.rglob("*.npy")), NAMES)
    return flags | {"data.file_bands": NAMES, "data.synthetic": None}


LONGER = ("ade20k_upernet", "coco_maskrcnn", "mae_pretrain")


@pytest.mark.parametrize(
    "task", ["imagenet_finetune", *(pytest.param(name, marks=pytest.mark.slow) for name in LONGER)]
)
def test_thirteen_bands_train_show_and_predict(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, runs = tmp_path / "data", tmp_path / "runs"
    short = {"run.folder": str(runs), "run.name": "a", "trainer.max_steps": 2, "trainer.val_check_interval": 2}
    flags = few_cubes(task, root) | short | {"data.shown_bands": "R,G,B", "data.device_batch_size": None}
    maekit.build(task, "smoke", VALUES | flags).fit()
    folder = runs / task / "smoke" / "a"
    drawn = [*folder.glob("pictures/*.png"), *folder.glob("examples/best_*.jpg")]
    assert len(drawn) > (task != "imagenet_finetune")
    assert all(np.asarray(Image.open(file)).std() > 10 for file in drawn)

    photos = tmp_path / "photos"
    photos.mkdir()
    for number, file in enumerate(sorted(root.rglob("*.npy"))[:2]):
        shutil.copyfile(file, photos / f"{number}.npy")
    np.save(photos / "rgb.npy", np.zeros((40, 40, 3), np.float32))
    words = ["predict", "--ckpt_path", str(folder), "--images", str(photos), "--output", str(tmp_path / "out")]
    assert cli.main(words) == 0
    reasons = (tmp_path / "out" / "skipped.txt").read_text()
    assert "rgb.npy" in reasons
    assert "3 channels" in reasons
    assert len([*(tmp_path / "out").glob("[01]*.png")]) >= (2 if task != "imagenet_finetune" else 0)
    if task == "mae_pretrain":
        weights = ["--weights", str(folder / "best.ckpt"), "--output"]
        assert cli.main(["adapt", str(root), "--weights", "mae_vit_smoke", f"--data.file_bands={NAMES}"]) == 2
        assert "pre-train on these first" in capsys.readouterr().err
        for command in ("reconstruct", "embed", "attention"):
            assert cli.main([command, str(photos), *weights, str(tmp_path / command)]) == 0, command
        features = json.loads((tmp_path / "embed" / "features.json").read_text())
        assert features["transform"]["bands"][:3] == ["R", "G", "B"]
        assert cli.main(["weights", "convert", str(folder), str(tmp_path / "hf"), "--to", "hf"]) == 0
        exported = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())
        assert exported["rescale_factor"] == pytest.approx(1 / features["transform"]["unit"])
        assert not exported["do_convert_rgb"]
        assert (
            cli.main(
                ["cluster", "--features", str(tmp_path / "embed"), "--clusters", "2", "--output", str(tmp_path / "c")]
            )
            == 0
        )
