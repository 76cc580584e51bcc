"""The commands and the code in a card work."""

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.cli import main, module_of
from maekit.export.card.write import model_card
from maekit.weights.state.state_file import read_state
from tests.export.helpers import make_run, section, tensors_of
from tests.numeric import assert_float64
from tests.weights.helpers import images, peer
from tests.weights.pretrainings.models import hf_model

pytestmark = pytest.mark.numeric


def commands_of(card: str) -> dict[str, str]:
    lines = re.findall(r"^- (.+?): `(maekit .+)`$", section(card, "Intended uses"), re.M)
    return dict(lines)


def test_each_command_is_one(tmp_path: Path) -> None:
    """The flags are those of the commands; what weights are not for has no command."""
    pretrained = commands_of(model_card(make_run(tmp_path / "a") / "best.ckpt"))
    assert pretrained.keys() == {"Features", "Fine-tuning", "A linear probe", "Reconstruction of hidden patches"}
    tuned = commands_of(model_card(make_run(tmp_path / "b", "classifier") / "best.ckpt"))
    assert "Validation" in tuned
    assert "Reconstruction of hidden patches" not in tuned
    for line in {*pretrained.values(), *tuned.values()}:
        words = shlex.split(line)
        command, parser = import_module(module_of(words[1])), argparse.ArgumentParser(add_help=False)
        command.add_arguments(parser)
        _, left = parser.parse_known_args(words[2:])
        assert command.FORWARDS or not left, line
        assert "best.ckpt" in words


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [
        ("dinov2 registers", "5 + N, 48]: class token, registers, patches"),
        ("dinov3", "5 + N, 48]: class token, registers, patches"),
        ("i-jepa", "N, 48]: patches"),
    ],
)
def test_the_code_loads_vits_of_other_pretrainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tokens: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model, pixels = hf_model(kind), images(32, 32)
    model.save_pretrained("source")
    with torch.no_grad():
        expected = model(pixels).last_hidden_state
        for to, out, card in (("hf", "hf", "hf/README.md"), ("timm", "a.safetensors", "a.safetensors.md")):
            assert main(["weights", "convert", "source", "--to", to, out]) == 0
            code = section(Path(card).read_text(), "How to load").removeprefix("```python\n").removesuffix("```")
            names: dict[str, Any] = {}
            exec(code, names)
            loaded = names["model"].eval()
            found = loaded(pixels).last_hidden_state if to == "hf" else loaded.forward_features(pixels)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.save(read_state("source").tensors, "ours.pth")
    assert tokens in model_card(Path("ours.pth"))


def test_a_plain_vit_of_another_pretraining_is_no_vitmae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ViTMAEModel hides patches at random; DINO's is a ViTModel, which has a pooler that no file of it has."""
    monkeypatch.chdir(tmp_path)
    model = peer(pooling="class", classes=0)
    torch.save(model.state_dict(), "dino_deitsmall16_pretrain.pth")
    assert main(["weights", "convert", "dino_deitsmall16_pretrain.pth", "--to", "hf", "hf"]) == 0
    code = section(Path("hf/README.md").read_text(), "How to load").removeprefix("```python\n").removesuffix("```")
    names: dict[str, Any] = {}
    with torch.no_grad():
        exec(code, names)
        assert type(names["model"]).__name__ == "ViTModel"
        found = names["model"].eval()(images(32, 32)).last_hidden_state
        torch.testing.assert_close(found, model.forward_features(images(32, 32)), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
@pytest.mark.parametrize("to", ["hf", "mae", "timm"])
def test_the_code_in_it_loads_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, to: str) -> None:
    monkeypatch.chdir(make_run(tmp_path / "run", kind))
    assert main(["weights", "convert", "best.ckpt", "--to", to, f"out.{'pth' if to == 'mae' else 'safetensors'}"]) == 0
    card = next(
        Path(f"out.{end}")
        for end in ("pth.md", "safetensors.md", "safetensors/README.md")
        if Path(f"out.{end}").is_file()
    )
    code = section(card.read_text(), "How to load").removeprefix("```python\n").removesuffix("```")
    names: dict[str, Any] = {"images": images(32, 32)}
    with torch.no_grad():
        exec(code, names)
        expected = peer(pooling="class", classes=5 if kind == "classifier" else 0)
        expected.load_state_dict(
            {
                n.removeprefix("backbone.").replace("head.fc", "head"): t
                for n, t in tensors_of(kind).items()
                if not n.startswith("head.") or kind == "classifier"
            }
        )
        tokens = expected.forward_features(images(32, 32))
        if to == "mae":
            found = names["tokens"]
            assert names["tensors"].keys() == {
                n.removeprefix("backbone.").removeprefix("head.").replace("fc.", "head.") for n in tensors_of(kind)
            }
        elif to == "timm":
            found = names["model"].eval().forward_features(images(32, 32))
        else:
            model = names["model"].eval().vit
            model.config.mask_ratio = 0.0
            more = {"noise": torch.arange(16.0).expand(2, 16)} if kind == "pretraining" else {}
            found = model(images(32, 32), **more).last_hidden_state
    assert_float64(found, tokens)
