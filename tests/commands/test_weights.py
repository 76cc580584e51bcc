"""`maekit weights` as typed: what is printed, as text and as JSON, and one line for what is wrong."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maekit.cli import main
from maekit.weights.get import find
from maekit.weights.get.official import Official
from maekit.weights.state.state_file import read_state
from tests.helpers_run import error_line
from tests.loopback import loopback, unused_port
from tests.weights.helpers import decoder, encoder, peer, released, same


def test_a_file_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = released(tmp_path / "a.pth", encoder())
    assert main(["weights", "inspect", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"weights {file}",
        "  what         facebookresearch/mae, encoder alone",
        "  size         vit_test_patch8 (48 wide, 3 blocks, 2 heads assumed, 8 px patches, 3 bands (R, G, B))",
        "  encoder      0.10 M parameters, float32, 100.0% of such a ViT",
        "  pre-training cannot be told: nothing in it says it, and plain ViTs come from many",
        "  positions    learned, or changed from MAE's fixed table, 4x4 patches (images of 32x32 px)",
        "  decoder      none",
        "  classifier   none",
        "  class names  not in the file",
        "  epoch        799",
        f"  good for     start of fine-tuning, linear probe: --model.weights {file} with --model.backbone "
        "vit_test_patch8",
        f"  good for     features: maekit.load_backbone('{file}')",
        "  not for      validation: it holds no classifier: fine-tune it first, or name a fine-tuned file",
        "  not for      reconstruction, going on with pre-training: it holds no decoder",
    ]


def test_what_is_wrong_with_a_file_stands_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {**encoder(), "norm.bias": torch.full((48,), torch.inf), "more.weight": torch.ones(1)}
    del tensors["blocks.0.norm1.bias"]
    assert main(["weights", "inspect", str(released(tmp_path / "a.pth", tensors))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].endswith(" M parameters, float32, 99.9% of such a ViT")
    assert lines[-3:] == [
        "  missing      1: blocks.0.norm1.bias",
        "  left over    1: more.weight",
        "  not finite   1: norm.bias",
    ]


def test_the_official_file_with_the_decoder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from maekit.backbone.sizes import load_size
    from maekit.backbone.vit import ViT

    with torch.device("meta"):
        shapes = ViT(load_size("vit_base_patch16"), image_size=(224, 224)).state_dict()
    one = torch.zeros(1)
    file = released(tmp_path / "a.pth", {name: one.expand(tensor.shape) for name, tensor in shapes.items()})
    assert main(["weights", "inspect", str(file)]) == 0
    text = capsys.readouterr().out
    assert f"--model.weights {file} with --recipe base or --model.backbone vit_base_patch16" in text
    assert "no decoder; mae_pretrain_vit_base_full.pth has one of this size (name: mae_vit_base_full)" in text


def test_a_foreign_file_is_readable_and_of_no_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"layer1.0.conv1.weight": torch.ones(2)}, tmp_path / "a.pth")
    assert main(["weights", "inspect", str(tmp_path / "a.pth")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        "  what         unknown layout, unknown content; seems to hold a ResNet",
        "  tensors      1, none of them a patch embedding",
    ]
    assert sum(line.startswith("  not for") for line in lines) == 1


def test_json_has_the_same_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {**peer().state_dict(), **decoder()}
    assert main(["weights", "inspect", str(released(tmp_path / "a.pth", tensors)), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts) == {
        *("path", "layout", "kind", "in_words", "seems", "size", "embed_dim", "num_blocks", "patch_size", "num_heads"),
        *(
            "num_tensors",
            "encoder_parameters",
            "dtypes",
            "final_norm",
            "positions",
            "pos_grid",
            "image_size",
            "decoder",
        ),
        *("classifier", "class_names", "epoch", "step", "task", "recipe", "norm_pix_loss", "coverage", "missing"),
        *("unused", "not_finite", "uses", "misshapen", "channels", "says_heads", "set", "sets", "beside"),
        *(
            "bands",
            "lora_rank",
            "predicts",
            "head",
            "sizes",
            "parts",
            "architecture",
            "num_registers",
            "class_token",
            "pretraining",
            "told_by",
            "licence",
            "notes",
        ),
    }
    assert facts["decoder"] == {"embed_dim": 64, "num_blocks": 2, "num_heads": None}
    assert facts["classifier"] == {"num_classes": 5, "pooling": "mean"}
    assert facts["pos_grid"] == [4, 4]
    purposes = {"fine_tuning", "features", "linear_probe", "validation", "reconstruction", "pre_training"}
    assert set(facts["uses"]) == purposes
    assert all(set(use) == {"possible", "how"} for use in facts["uses"].values())


def test_a_name_is_downloaded_and_json_stays_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = released(tmp_path / "a.pth", encoder()).read_bytes()
    digest = hashlib.md5(data).hexdigest()[:6]
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with loopback() as server:
        server.files["/mae_pretrain_tiny.pth"] = data
        official = Official("mae_tiny", f"{server.url}/mae_pretrain_tiny.pth", "", digest, "CC-BY-NC 4.0", "them")
        monkeypatch.setattr(find, "official_weights", lambda: {"mae_tiny": official})
        assert main(["weights", "inspect", "mae_tiny", "--json"]) == 0
    said = capsys.readouterr()
    path = tmp_path / "cache/weights/mae_pretrain_tiny.pth"
    assert json.loads(said.out)["path"] == str(path)
    assert said.err == f"mae_tiny: CC-BY-NC 4.0 (no commercial use), them; file: {path}\n"


def test_without_a_connection_a_name_is_one_line_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{unused_port()}/mae_pretrain_tiny.pth"
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    official = Official("mae_tiny", url, "", "", "CC-BY-NC 4.0", "them")
    monkeypatch.setattr(find, "official_weights", lambda: {"mae_tiny": official})
    assert main(["weights", "inspect", "mae_tiny"]) == 2
    licence, line = capsys.readouterr().err.splitlines()
    assert licence.startswith("mae_tiny: CC-BY-NC 4.0")
    assert line.endswith(f"fetch {url} by hand and put it at {tmp_path}/weights/mae_pretrain_tiny.pth")


@pytest.mark.parametrize("to", ["mae", "timm", "hf"])
def test_convert_writes_what_reads_the_same(tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = released(tmp_path / "a.pth", encoder())
    out = tmp_path / ("out" if to == "hf" else "out.pth")
    assert main(["weights", "convert", str(file), "--to", to, str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"read {file} (facebookresearch/mae, encoder alone)"
    assert lines[-1].startswith(f"wrote {out}")
    same(read_state(out).tensors, encoder())


def test_norm_pix_loss_reaches_the_config(tmp_path: Path) -> None:
    file = released(tmp_path / "a.pth", {**encoder(), **decoder()})
    for value in ("true", "false"):
        words = ["weights", "convert", str(file), "--to", "hf", str(tmp_path / value), "--norm_pix_loss", value]
        assert main(words) == 0
        assert json.loads((tmp_path / value / "config.json").read_text())["norm_pix_loss"] is (value == "true")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "inspect|convert"),
        (("inspct",), "invalid choice"),
        (("inspect",), "FILE_OR_NAME"),
        (("inspect", "mae_vit_bse"), "did you mean 'mae_vit_base'?"),
        (("inspect", "a.pt"), "did you mean 'a.pth'?"),
        (("inspect", "text.pth"), "text.pth is not a checkpoint but a text file"),
        (("inspect", "folder"), "folder"),
        (("inspect", "hf:x"), "expected hf:owner/name"),
        (("convert", "a.pth", "out.pth"), "--to"),
        (("convert", "a.pth", "--to", "mea", "out.pth"), "invalid choice: 'mea'"),
        (("convert", "a.pth", "--to", "mae"), "OUT"),
        (("convert", "a.pth", "--to", "mae", "text.pth"), "exists already"),
        (("convert", "a.pth", "--to", "hf", "out", "--norm_pix_loss", "1"), "invalid choice: '1'"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    released(tmp_path / "a.pth", encoder())
    (tmp_path / "text.pth").write_text("nothing")
    (tmp_path / "folder").mkdir()
    assert expected in error_line(capsys, "weights", *words)
    assert {path.name for path in tmp_path.iterdir()} == {"a.pth", "text.pth", "folder"}


@pytest.mark.parametrize(
    "words", [["weights", "--help"], ["weights", "inspect", "mae_vit_bse"], ["weights", "convert", "x", "--to", "mae"]]
)
def test_it_answers_without_torch(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from maekit.cli import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'huggingface_hub', 'safetensors'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
