"""Full runs: the README's command learns, and the flagship fits this project's smallest machine."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from maekit.cli import main
from maekit.data.digits import digits_root
from maekit.detection.data.coco.scenes import object_scenes_root

pytestmark = pytest.mark.slow


def pixels(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 32 * 32] in 0..1 and labels [n] of the digits on disk."""
    files = sorted((digits_root() / split).rglob("*.JPEG"))
    images = np.stack([np.asarray(Image.open(file).convert("L"), dtype=np.float32).ravel() / 255 for file in files])
    return images, np.array([int(file.parent.name[1:]) for file in files])


def test_the_readmes_first_command_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above 97% on digits it never saw, and above logistic regression on their pixels."""
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task", "imagenet_finetune", "--recipe", "smoke"]) == 0
    run = tmp_path / "runs/imagenet_finetune/smoke/0"
    best = json.loads((run / "metrics.json").read_text())["best"]
    train, val = pixels("train"), pixels("val")
    baseline = 100 * LogisticRegression(C=10, max_iter=2000).fit(*train).score(*val)
    assert best["value"] > max(97.0, baseline), f"logistic regression reaches {baseline:.2f}"

    capsys.readouterr()
    assert main(["validate", "--ckpt_path", str(run / "best.ckpt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["top1"] == best["value"]

    assert main(["predict", "--ckpt_path", str(run / "best.ckpt"), "--images", str(digits_root() / "val")]) == 0
    with (tmp_path / "predictions/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = (run / "classes.txt").read_text().splitlines()
    right = [row["class_1"] == names[int(Path(row["file"]).parent.name[1:])] for row in rows]
    assert 100 * sum(right) / len(right) == pytest.approx(best["value"])


HUGE = """
import resource, sys, torch
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.optim.settings import Optimisation
from maekit.recipes.tasks import find_task
from maekit.data.images.batch import ImageBatch
from maekit.base.spec import DataSpec
task = find_task("imagenet_finetune")
module = task.load()
size = int(sys.argv[2])
flags = ["--model.mixup=0", "--model.cutmix=0"]
settings = resolve(load_recipe(task, sys.argv[1]), module, flags, training=False)
torch.manual_seed(0)
model = module.Model.build(DataSpec(module.Data.published.class_names, (size, size)), settings.values["model"]).train()
images = torch.randn(1, 3, size, size)
if sys.argv[3] == "step":
    optimizer = Optimisation(**settings.values["optim"]).make_optimizer(model, model.backbone, 1024)
    before = model.backbone.blocks[31].mlp.fc2.weight[:2].clone()
    loss = model.training_losses(ImageBatch(images, torch.tensor([3]), torch.tensor([0])))["loss"]
    loss.backward()
    optimizer.step()
    assert loss.isfinite() and not torch.equal(before, model.backbone.blocks[31].mlp.fc2.weight[:2])
else:
    with torch.inference_mode():
        assert model(images).isfinite().all() and model.backbone.grid == (32, 32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.parametrize(("recipe", "size", "what"), [("huge", 224, "step"), ("huge_448", 448, "forward")])
def test_vit_huge_fits(recipe: str, size: int, what: str) -> None:
    """One fine-tuning step at 224 px and a forward at 448 px, batch 1, fp32, within 24 GB."""
    done = subprocess.run(
        [sys.executable, "-c", HUGE, recipe, str(size), what], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak = float(done.stdout.split()[-1])
    print(f"{recipe} {what}: peak {peak:.1f} GiB")
    assert peak < 22


def test_gradient_checkpointing_saves_memory_on_large() -> None:
    """The saved tensors of a step, by number of elements: recomputed blocks keep only their inputs."""
    from maekit.backbone.sizes import load_size
    from maekit.backbone.vit import ViT

    kept = {}
    for recompute in (False, True):
        vit = ViT(load_size("vit_large_patch16"), image_size=(64, 64), gradient_checkpointing=recompute).train()
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            vit(torch.randn(1, 3, 64, 64)).tokens.sum()
        kept[recompute] = sum(sizes)
    assert kept[True] < kept[False] / 8


def test_a_probe_tells_pretrained_features_from_random_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every seed, by a clear margin; the backbone was pre-trained on other images, without labels."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        best = {}
        for number, weights in enumerate(("none", "mae_vit_smoke")):
            flags = [f"--model.weights={weights}", "--model.cached_features=true", f"--run.seed={seed}"]
            assert main(["fit", "--task", "imagenet_linprobe", "--recipe", "smoke", *flags]) == 0
            run = tmp_path / f"runs/imagenet_linprobe/smoke/{2 * seed + number}"
            best[weights] = json.loads((run / "metrics.json").read_text())["best"]["value"]
        assert best["mae_vit_smoke"] > best["none"] + 4, best
        assert best["mae_vit_smoke"] > 90, best


def scores(path: Path) -> dict[tuple[int, int], list[float]]:
    """The scores of COCO's result dicts, by image and category, falling."""
    found: dict[tuple[int, int], list[float]] = {}
    for row in json.loads(path.read_text()):
        found.setdefault((row["image_id"], row["category_id"]), []).append(row["score"])
    return {key: sorted(values, reverse=True) for key, values in found.items()}


def test_detection_learns_the_digit_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Box AP50 above 70 and mask AP50 above 65 on unseen scenes, validated to the same; predicting finds the same."""
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--task", "coco_maskrcnn", "--recipe", "smoke"]) == 0
    run = tmp_path / "runs/coco_maskrcnn/smoke/0"
    last = json.loads((run / "metrics.json").read_text())["val"]
    assert last["box_AP50"] > 70
    assert last["mask_AP50"] > 65

    capsys.readouterr()
    assert main(["validate", "--ckpt_path", str(run / "last.ckpt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == pytest.approx(last, nan_ok=True)

    scenes = object_scenes_root() / "val2017"
    assert main(["predict", "--ckpt_path", str(run / "last.ckpt"), "--images", str(scenes)]) == 0
    predictions = tmp_path / "predictions"
    images = json.loads((predictions / "images.json").read_text())["images"]
    names = {image["id"]: Path(image["file_name"]).stem for image in images}
    assert {path.stem for path in predictions.glob("*.png")} == set(names.values())
    assert len(names) == 60
    found = {(int(names[image]), label): s for (image, label), s in scores(predictions / "coco_results.json").items()}
    expected = scores(run / "coco_results.json")
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=1e-4), key
