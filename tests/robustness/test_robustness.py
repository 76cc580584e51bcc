"""The robustness evaluation as a user runs it: against a loop over the files, and what is refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as tv

from maekit import api
from maekit.classification.model import Classifier
from maekit.cli import main
from maekit.data.digits import cached
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.robustness.data.digits import DIGITS_FOLDER, write_robustness_digits
from maekit.robustness.data.read import RobustnessSpec
from maekit.robustness.data.sets import alexnet_errors, imagenet_synsets, published
from maekit.robustness.model import RobustnessClassifier

TASK = "imagenet_robustness"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TINY = ("--recipe=smoke", "--model.backbone=vit_test_patch8", "--data.num_workers=0")
# The checkpoint's classes: the digits' in another order, and two more that no data set has.
SHUFFLED = tuple(f"n{label:08}" for label in (4, 11, 0, 7, 9, 1, 8, 2, 10, 6, 3, 5))


def model(ids: tuple[str, ...], pooling: Any = "mean") -> RobustnessClassifier:
    """A small classifier of these classes with random weights, whose scores differ widely."""
    torch.manual_seed(0)
    built = RobustnessClassifier.build(
        RobustnessSpec(ids, (32, 32), ids), {"backbone": "vit_test_patch8", "pooling": pooling}
    )
    torch.nn.init.normal_(built.head.fc.weight)  # type: ignore[union-attr, arg-type]
    return built.eval()


def checkpoint(path: Path, ids: tuple[str, ...]) -> Path:
    """As a run of a classifier writes it: Lightning's names and a card."""
    card = {
        "format": 1, "task": "imagenet_finetune", "recipe": "smoke", "config": {}, "step": 1,
        "class_names": [f"name of {ident}" for ident in ids],
        "class_ids": list(ids), "image_size": [32, 32], "palette": [], "input": {"mean": MEAN, "std": STD},
    }  # fmt: skip
    state = {f"model.{name}": tensor for name, tensor in model(ids).state_dict().items()}
    torch.save({"state_dict": state, "maekit": card, "pytorch-lightning_version": "2.6.6", "global_step": 1}, path)
    return path


def nameless(path: Path, classes: int) -> Path:
    """As facebookresearch/mae writes it: no class names."""
    state = model(tuple(map(str, range(classes)))).state_dict()
    renamed = {name.replace("head.fc_norm", "fc_norm").replace("head.fc.", "head."): t for name, t in state.items()}
    torch.save({"model": {name.removeprefix("backbone."): t for name, t in renamed.items()}}, path)
    return path


def one_image(root: Path, ident: str) -> Path:
    folder = root / "imagenet-a" / ident
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(0).randint(0, 256, (32, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "x.jpg")
    return root


def made() -> Path:
    """The made data of this session."""
    return cached(DIGITS_FOLDER, write_robustness_digits)


def validated(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[dict[str, float], list[str]]:
    capsys.readouterr()
    assert main(["validate", "--task", TASK, *TINY, "--json", *flags]) == 0
    out, printed = capsys.readouterr()
    return json.loads(out), printed.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def predictions(folder: Path, among: list[str] | None) -> list[tuple[str, bool]]:
    """Below a folder, for each picture: the folder above its class folder, and whether the model knows its class."""
    reference = tv.Compose([tv.ToTensor(), tv.Normalize(MEAN, STD)])
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with torch.inference_mode():
        logits = model(SHUFFLED)(torch.stack([reference(Image.open(file).convert("RGB")) for file in files]))
    allowed = [SHUFFLED.index(ident) for ident in among] if among else list(range(len(SHUFFLED)))
    best = [SHUFFLED[allowed[place]] for place in logits[:, allowed].argmax(1).tolist()]
    return [(str(f.parent.parent.relative_to(folder)), f.parent.name == b) for f, b in zip(files, best, strict=True)]


def test_a_checkpoint_is_measured_as_a_loop_over_the_files_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = checkpoint(tmp_path / "best.ckpt", SHUFFLED)
    values, printed = validated(capsys, f"--model.weights={weights}")
    root = made()
    for name, short in (("imagenet-a", "a_top1"), ("imagenet-r", "r_top1")):
        own = sorted(child.name for child in (root / name).iterdir())
        assert len(own) == 6
        for among, key in ((own, short), (None, f"{short}_all_classes")):
            assert values[key] == pytest.approx(100 * np.mean([hit for _, hit in predictions(root / name, among)]))
    hits = [hit for _, hit in predictions(root / "sketch", None)]
    assert values["sketch_top1"] == pytest.approx(100 * np.mean(hits))
    errors: dict[str, list[bool]] = {}
    for place, hit in predictions(root / "imagenet-c", None):
        errors.setdefault(place, []).append(not hit)
    assert len(errors) == 75
    for place, wrong in errors.items():
        assert values[f"c_{place.replace('/', '_')}_error"] == pytest.approx(100 * np.mean(wrong))
    means = {c: np.mean([np.mean(errors[f"{c}/{s}"]) for s in range(1, 6)]) for c in alexnet_errors()}
    relative = [mean / alexnet_errors()[corruption] for corruption, mean in means.items()]
    assert values["c_mean_error"] == pytest.approx(100 * np.mean(list(means.values())))
    assert values["c_mce_alexnet"] == pytest.approx(100 * np.mean(relative))
    assert len({values[key] for key in ("a_top1", "a_top1_all_classes", "r_top1", "sketch_top1")}) > 2
    assert f"c_mce_alexnet {values['c_mce_alexnet']:.2f}: mCE" in printed[-1]
    assert not any(line.startswith("not evaluated") for line in printed)


def test_what_is_not_there_is_said_and_results_are_kept(tmp_path: Path) -> None:
    root = made()
    (tmp_path / "imagenet-c").mkdir()
    (tmp_path / "imagenet-c" / "fog").symlink_to(root / "imagenet-c" / "fog")
    weights = checkpoint(tmp_path / "best.ckpt", SHUFFLED)
    overrides = {
        "model.weights": str(weights),
        "model.backbone": "vit_test_patch8",
        "data.imagenet_c": str(tmp_path / "imagenet-c"),
        "data.num_workers": 0,
    }
    session = api.build(TASK, "smoke", overrides)
    values = session.validate()
    assert {"c_fog_error", "c_partial_mean_error"} < set(values)
    assert not {"c_mean_error", "c_mce_alexnet"} & set(values)
    assert set(session.model.headlines(values)) == {"c_partial_mean_error"}
    kept = session.results["robustness.json"]
    assert kept["imagenet_c"]["partial_mean_error"] == pytest.approx(values["c_fog_error"])
    assert {severity: row["images"] for severity, row in kept["imagenet_c"]["errors"]["fog"].items()} == {
        str(severity): 20 for severity in range(1, 6)
    }
    with pytest.raises(UserError, match="this task evaluates only"):
        session.fit()
    with pytest.raises(UserError, match=r"give it as --model\.weights x\.ckpt"):
        session.validate("x.ckpt")


def test_a_file_without_names_has_imagenets_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One image of a class of ImageNet-A: chosen among the 200 published classes, though one folder is there."""
    own = published("imagenet_a").classes
    weights = nameless(tmp_path / "model.pth", 1000)
    reference = tv.Compose(
        [tv.Resize(32, tv.InterpolationMode.BICUBIC), tv.CenterCrop(32), tv.ToTensor(), tv.Normalize(MEAN, STD)]
    )
    image = Image.open(one_image(tmp_path / "any", own[0]) / "imagenet-a" / own[0] / "x.jpg").convert("RGB")
    with torch.inference_mode():
        logits = model(tuple(map(str, range(1000))))(reference(image)[None])[0]
    places = [imagenet_synsets().index(ident) for ident in own]
    best = own[int(logits[places].argmax())]
    assert imagenet_synsets()[int(logits.argmax())] != best
    for ident, expected in ((best, 100.0), (next(i for i in own if i != best), 0.0)):
        values, printed = validated(
            capsys, f"--model.weights={weights}", f"--data.root={one_image(tmp_path / ident, ident)}"
        )
        assert values == {"a_top1": expected, "a_top1_all_classes": 0.0}
        assert printed[-2].split()[-2:] == ["200", "(0.00)"]
        assert printed[-1] == "not evaluated: ImageNet-R, ImageNet-Sketch, ImageNet-C"


def test_weights_that_do_not_suit_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("validate", "--task", TASK, *TINY)
    few = checkpoint(tmp_path / "few.ckpt", SHUFFLED[:5])
    line = refused(capsys, *command, f"--model.weights={few}")
    assert (
        f"/imagenet-a/n00000001: 'n00000001' is none of the 5 classes of {few} ('n00000004', ...); remove the folder"
        in line
    )
    ten = nameless(tmp_path / "ten.pth", 10)
    line = refused(capsys, *command, f"--model.weights={ten}")
    assert f"/imagenet-r/n00000000: 'n00000000' is none of ImageNet-1K's 1,000 classes, which {ten} is taken" in line
    inside = one_image(tmp_path / "root", published("imagenet_a").classes[5])
    line = refused(capsys, *command, f"--model.weights={ten}", f"--data.root={inside}")
    assert line.startswith(f"maekit: {ten}: got a head of 10 classes, expected ImageNet-1K's 1,000; give weights")
    own = published("imagenet_a").classes
    partial = checkpoint(tmp_path / "partial.ckpt", own[3:8])
    line = refused(capsys, *command, f"--model.weights={partial}", f"--data.root={inside}")
    assert f"the model lacks class '{own[0]}' of the 200 among which ImageNet-A is measured (195 in all)" in line
    assert "no weights given; add --model.weights FILE" in refused(capsys, *command, f"--data.root={inside}")
    root = made()
    line = refused(capsys, *command, f"--model.weights={few}", f"--data.root={root}/imagenet-c")
    assert line.startswith(f"maekit: {root}/imagenet-c: this is ImageNet-C itself; give it as --data.imagenet_c {root}")


def test_there_is_nothing_to_fit(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "fit", "--task", TASK, "--recipe", "base")
    assert line == (
        f"maekit: this task evaluates only; use maekit validate --task {TASK} --recipe base --model.weights FILE"
    )
    assert RobustnessClassifier.evaluates_only
    assert not Classifier.evaluates_only
    with pytest.raises(UserError, match="use maekit validate"):
        model(("n00000000", "n00000001")).training_losses(None)


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_the_recipe_asks_for_no_number_of_training(pooling: str) -> None:
    built = model(("n00000000", "n00000001"), pooling)
    assert built.backbone.embed_dim == 48
    assert {name for name, _ in built.head.named_children()} == {"fc_norm", "fc"}
    flags = load_recipe(find_task(TASK), "huge_448").values["model"]
    assert set(flags) == {"backbone", "pooling"}
