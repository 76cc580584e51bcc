"""Files of facebookresearch/moco-v3: which encoder is read, what is left alone, and that the layout is one file."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import maekit
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.base.spec import DataSpec
from maekit.cli import main
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.weights.layouts.layout import Contents, Layout
from maekit.weights.layouts.registry import Candidate, choose_layout, layouts
from maekit.weights.state.state_file import read_state
from tests.conftest import TINY, few_digits
from tests.numeric import assert_float64
from tests.weights.helpers import Small, encoder, images, load, peer, refusal, same

pytestmark = pytest.mark.numeric


def layers(*sizes: int, last_weights: bool = True) -> dict[str, Tensor]:
    """A projector or predictor: Linear without bias, BatchNorm, ReLU, ...; the last BatchNorm has no weights."""
    modules: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes), 2):
        modules += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after, affine=number < len(sizes))]
        modules += [nn.ReLU()] if number < len(sizes) else []
    return dict(nn.Sequential(*modules).state_dict())


def momentum() -> dict[str, Tensor]:
    return {name: tensor + 1 for name, tensor in encoder().items()}


def pretraining(path: Path, arch: str = "vit_test", **encoders: dict[str, Tensor]) -> Path:
    """A file as main_moco.py saves it, from DistributedDataParallel."""
    parts = {"base_encoder": encoder(), "momentum_encoder": momentum(), **encoders}
    parts["base_encoder"] |= {f"head.{name}": tensor for name, tensor in layers(48, 32, 32, 16).items()}
    parts["momentum_encoder"] |= {f"head.{name}": tensor for name, tensor in layers(48, 32, 32, 16).items()}
    parts["predictor"] = layers(16, 32, 16)
    state = {f"module.{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    torch.save({"epoch": 300, "arch": arch, "state_dict": state, "optimizer": {"state": {}}, "scaler": {}}, path)
    return path


def probe(path: Path, state: dict[str, Tensor], arch: str = "vit_base") -> Path:
    """A file as main_lincls.py saves it."""
    named = {f"module.{name}": tensor for name, tensor in state.items()}
    values = {"epoch": 90, "arch": arch, "state_dict": named, "best_acc1": torch.tensor(76.7), "optimizer": {}}
    torch.save(values, path)
    return path


def shapes(width: int) -> dict[str, Tensor]:
    """A ViT of 12 blocks of that width, all zeros that take no room in a file."""
    size = replace(load_size("vit_base_patch16"), embed_dim=width)
    with torch.device("meta"):
        state = ViT(size, image_size=(224, 224)).state_dict()
    return {name: torch.zeros(1).expand(tensor.shape) for name, tensor in state.items()}


def test_the_base_encoder_is_meant(tmp_path: Path) -> None:
    state = read_state(pretraining(tmp_path / "a.pth.tar"))
    assert (state.layout, state.kind) == ("moco-v3", "encoder")
    same({name: tensor for name, tensor in state.tensors.items() if not name.startswith("projector.")}, encoder())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("module.base_encoder", encoder),
        ("module.momentum_encoder", momentum),
        ("state_dict.module.momentum_encoder", momentum),
    ],
)
def test_a_key_names_either_encoder(tmp_path: Path, key: str, expected: Any) -> None:
    state = read_state(f"{pretraining(tmp_path / 'a.pth.tar')}#{key}")
    assert state.layout == "moco-v3"
    same({name: tensor for name, tensor in state.tensors.items() if not name.startswith("projector.")}, expected())


def test_inspect_names_the_other_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pretraining(tmp_path / "a.pth.tar")
    assert main(["weights", "inspect", str(file)]) == 0
    text = capsys.readouterr().out
    assert "facebookresearch/moco-v3, encoder alone" in text
    assert "good for     start of fine-tuning, linear probe" in text
    assert f"{file}#module.momentum_encoder" in text
    assert f"module.momentum_encoder ({len(encoder()) + 16} tensors), module.predictor (10 tensors)" in text


@pytest.mark.parametrize(
    ("arch", "width", "size"), [("vit_small", 384, "vit_small_patch16_mocov3"), ("vit_base", 768, "vit_base_patch16")]
)
def test_both_released_sizes_have_12_heads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arch: str, width: int, size: str
) -> None:
    file = pretraining(tmp_path / "a.pth.tar", arch, base_encoder=shapes(width), momentum_encoder=shapes(width))
    assert main(["weights", "inspect", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_heads"], found["says_heads"], found["size"]) == (12, True, size)
    assert found["missing"] == []
    assert found["uses"]["fine_tuning"]["possible"]
    assert found["pretraining"] == "moco_v3"


def test_a_wrong_number_of_heads_is_refused(tmp_path: Path) -> None:
    assert "got 12 attention heads, expected 2" in refusal(Small(), pretraining(tmp_path / "a.pth.tar", "vit_small"))


def test_fit_starts_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pretraining(tmp_path / "a.pth.tar")
    words = ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", *TINY, f"--model.weights={file}"]
    words += [f"--data.root={few_digits()}", "--trainer.max_steps=1", f"--run.folder={tmp_path / 'run'}"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "facebookresearch/moco-v3, encoder alone): 100.0% of the backbone's parameters" in text


@pytest.mark.parametrize("task", ["imagenet_finetune", "ade20k_upernet", "coco_maskrcnn"])
def test_every_row_of_the_papers_tables_can_start_from_it(tmp_path: Path, task: str) -> None:
    """Tables 3, 5 and 4 compare MAE with MoCo v3."""
    module = find_task(task).load()
    values = resolve(load_recipe(find_task(task), "smoke"), module, [], training=True).values
    vit = ViT(load_size("vit_smoke_patch8"), image_size=(32, 32)).state_dict()
    file = pretraining(tmp_path / "a.pth.tar", base_encoder=dict(vit), momentum_encoder=dict(vit))
    settings = values["model"] | {"weights": str(file)}
    spec = DataSpec(("a", "b", "c"), (64, 64), ("1", "2", "3"), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    report = module.Model.build(spec, settings).load_start(complete=False)
    assert report is not None
    assert (report.layout, report.coverage > 0.9) == ("moco-v3", True)
    assert all(name.startswith(("projector.", "norm.", "cls_token")) for name in report.unused)


@pytest.mark.usefixtures("float64")
def test_timm_takes_what_is_converted(tmp_path: Path) -> None:
    file, out = pretraining(tmp_path / "a.pth.tar"), tmp_path / "out.pth"
    assert main(["weights", "convert", str(file), "--to", "timm", str(out)]) == 0
    converted = torch.load(out, weights_only=True)
    same(converted, encoder())
    peer(pooling="class", classes=0).load_state_dict(converted, strict=True)


@pytest.mark.usefixtures("float64")
def test_a_linear_probe_gives_its_logits(tmp_path: Path) -> None:
    source, model = peer(pooling="class"), Small(pooling="class").eval()
    path = probe(tmp_path / "linear.pth.tar", dict(source.state_dict()), "vit_unknown")
    report = load(model, path, allow_new=(), allow_unused=())
    assert (report.layout, report.kind, report.new) == ("state_dict", "classifier_class", ())
    assert_float64(model(images(32, 32)), source(images(32, 32)))


def test_a_linear_probe_of_a_known_vit_has_its_heads(tmp_path: Path) -> None:
    state = read_state(probe(tmp_path / "linear.pth.tar", dict(peer(pooling="class").state_dict())))
    assert (state.layout, state.kind, state.num_heads) == ("moco-v3", "classifier_class", 12)


@pytest.mark.parametrize(
    ("name", "what"),
    [("patch_embed.proj.0.weight", "patches come from convolutions"), ("conv1.weight", "MoCo training state")],
)
def test_other_models_of_the_project_are_named(tmp_path: Path, name: str, what: str) -> None:
    torch.save({"state_dict": {f"module.base_encoder.{name}": torch.ones(1)}}, tmp_path / "a.pth.tar")
    assert what in refusal(Small(), tmp_path / "a.pth.tar")


def test_the_layout_is_one_file() -> None:
    package = Path(maekit.__file__).parent
    assert layouts()["moco-v3"].words == "facebookresearch/moco-v3"
    folder = package / "weights" / "layouts"
    naming = [path for path in folder.rglob("*.py") if "moco" in path.read_text(encoding="utf-8").lower()]
    assert naming == [folder / "moco_v3.py"]


def test_two_layouts_that_recognise_one_file_are_an_error() -> None:
    every = [
        Layout(name=name, words=name, recognise=lambda _contents, _prefix: True, to_ours=lambda _, tensors, __: tensors)  # type: ignore[arg-type,return-value]
        for name in ("first", "second")
    ]
    with pytest.raises(UserError, match="'first' and 'second'"):
        choose_layout(Path("a.pth"), [Candidate(layout, "") for layout in every], Contents({}, {}))
