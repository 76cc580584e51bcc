"""A model card says what the files say, and nothing of where they lie."""

import argparse
import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from torch import Tensor

from maekit.cli import main
from maekit.export.card.licence import licence_of
from maekit.export.card.words import plain
from maekit.export.card.write import model_card
from maekit.runs.record import Record, read_record
from maekit.weights.get.find import find_weights
from tests.numeric import assert_float64
from tests.weights.helpers import decoder, encoder, images, peer, released

pytestmark = pytest.mark.numeric

HOME = "/mnt/somebody/secret"
CONFIG: dict[str, Any] = {
    "model": {
        "weights": f"{HOME}/mae_pretrain_vit_base.pth",
        "decoder_heads": 4,
        "target": "normalised_pixels",
        "mask_ratio": 0.6,
        "base_lr": 1.5e-4,
    },
    "data": {"root": f"{HOME}/birds", "probe_root": f"{HOME}/labelled", "total_batch_size": 16},
    "trainer": {"max_epochs": 3, "max_steps": -1},
    "run": {"seed": 5, "folder": f"{HOME}/runs"},
}
METRICS: dict[str, Any] = {
    "status": "finished",
    "step": 12,
    "val": {"loss": 0.5, "psnr": 14.25, "none": None},
    "best": {"metric": "val/loss", "value": 0.4375, "step": 8},
    "seconds": 5400.0,
    "images_per_second": 0.04,
    "peak_memory_gib": 1.5,
}


def tensors_of(kind: str) -> dict[str, Tensor]:
    if kind == "classifier":
        named = dict(peer(pooling="class").state_dict())
        return {f"head.fc{n[4:]}" if n.startswith("head") else f"backbone.{n}": t for n, t in named.items()}
    return {f"backbone.{n}": t for n, t in encoder().items()} | {f"head.{n}": t for n, t in decoder().items()}


def make_run(folder: Path, kind: str = "pretraining", *, step: int = 8, name: str = "best.ckpt", **model: Any) -> Path:
    """A run's folder as one leaves it, all of whose paths lie in somebody's home."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**CONFIG, "model": {**CONFIG["model"], **model}}
    card = {
        "task": f"{HOME}/tasks/birdtask.py",
        "recipe": "mine",
        "config": config,
        "class_names": ["image"] if kind == "pretraining" else list("abcde"),
        "image_size": [32, 32],
        "input": {"image_size": 32, "crop_fraction": 0.875, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        "step": step,
    }
    state = {f"model.{n}": t for n, t in tensors_of(kind).items()}
    torch.save({"state_dict": state, "maekit": card}, folder / name)
    environment = {
        "command": [f"{HOME}/bin/maekit", "fit", "--data.root", f"{HOME}/birds"],
        "folder": HOME,
        "devices": "2 x cuda, precision bf16-mixed",
        "versions": {"maekit": "0.1.0", "torch": "2.15.0", "timm": None},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "val.csv").write_text("step,loss,epoch\n4,0.6,1.0\n12,0.5,3.0\n")
    return folder


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n\n")[1].split("\n\n## ")[0].strip()


def front(card: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return values


def test_a_run_is_told_in_full(tmp_path: Path) -> None:
    card = model_card(make_run(tmp_path / "run") / "best.ckpt")
    numbers = sum(tensor.numel() for tensor in tensors_of("pretraining").values())
    ours = sum(tensor.numel() for tensor in encoder().values())
    assert section(card, "What it is").splitlines() == [
        "- Content: a maekit run, pre-training with decoder",
        "- Encoder: vit_test_patch8, 48 wide, 3 blocks, 2 heads, patches of 8 px, images of 32x32 px",
        "- Decoder: 64 wide, 2 blocks, 4 heads",
        f"- Parameters: {ours:,} numbers in the encoder, position table included, {numbers:,} in all; float32",
        "- Training: step 8 of birdtask, recipe mine",
    ]
    assert section(card, "Data").splitlines() == [
        "- Folder: `birds`",
        "- Also used, as `probe_root`: `labelled`",
        "- An epoch: 64 images (4 steps of 16; less than one batch was left out)",
        "- Input in evaluation: 32x32 px, mean [0.1, 0.2, 0.3], std [0.4, 0.5, 0.6], centre crop of 0.875 of the short "
        "side, bicubic",
    ]
    assert section(card, "Training").splitlines() == [
        "- total batch: 16",
        "- epochs: 3",
        "- base lr: 0.00015",
        "- mask ratio: 0.6",
        "- target: normalised_pixels",
        "- seed: 5",
        "- differences from the recipe: not known, its file is not here",
    ]
    assert section(card, "Hardware, time and energy").splitlines() == [
        "- Devices: 2 x cuda, precision bf16-mixed",
        "- Time: 1.5 hours",
        "- Speed: 0.04 images/s",
        "- Peak memory: 1.5 GiB a device",
        "- Software: maekit 0.1.0, torch 2.15.0",
        "- Energy: not measured, and no power draw was recorded from which it could be estimated",
    ]
    assert section(card, "Results").splitlines() == [
        "Measured by the run on its own validation data. These weights are those of step 8.",
        "",
        "Best: loss 0.4375 at step 8.",
        "",
        "Last, at step 12:",
        "",
        "| metric | value |",
        "|---|---|",
        "| loss | 0.5 |",
        "| psnr | 14.25 |",
    ]
    assert "CC-BY-NC 4.0. It allows no commercial use" in section(card, "Starting weights and licence")
    assert "2111.06377" in section(card, "Citation")


@pytest.mark.parametrize("to", [None, "mae", "hf", "timm"])
@pytest.mark.parametrize("kind", ["pretraining", "classifier"])
def test_no_path_of_the_machine_is_told(tmp_path: Path, kind: str, to: str | None) -> None:
    run, out = make_run(tmp_path / "private" / "run", kind), tmp_path / "private" / "out"
    if to is None:
        assert main(["weights", "card", str(run), "--output", str(out)]) == 0
        card = out.read_text()
    else:
        assert main(["weights", "convert", str(run / "best.ckpt"), "--to", to, str(out)]) == 0
        card = (out / "README.md" if to == "hf" else out.with_name("out.md")).read_text()
        assert "`out`" in card or " out" in card
    for word in ("private", "home", "somebody", "secret", str(tmp_path)):
        assert word not in card, word
    assert not re.search(r"(?<![\w.`<)])/(?!s\b)\w+/", card.replace("https://", ""))


def test_the_hub_reads_its_front_matter(tmp_path: Path) -> None:
    """The measured value of these very weights is there, that of the run's last ones is not."""
    run = make_run(tmp_path / "run", "classifier")
    assert main(["weights", "convert", str(run), "--to", "hf", str(tmp_path / "hf")]) == 0
    data = ModelCard.load(tmp_path / "hf" / "README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "cc-by-nc-4.0",
        "transformers",
        "image-classification",
    )
    assert data.tags == ["maekit", "masked-autoencoder", "vit"]
    result, *others = data.eval_results
    assert others == []
    told = (result.task_type, result.dataset_name, result.metric_type, result.metric_value)
    assert told == ("image-classification", "birds", "loss", 0.4375)
    make_run(tmp_path / "run", "classifier", step=12, name="last.ckpt")
    last = front(model_card(tmp_path / "run" / "last.ckpt"))
    assert last["metrics"] == ["loss", "psnr"]
    assert front(model_card(make_run(tmp_path / "b", step=9) / "best.ckpt")).get("metrics") is None


def test_what_no_file_says_is_not_recorded(tmp_path: Path) -> None:
    lone = make_run(tmp_path / "run") / "best.ckpt"
    for file in lone.parent.iterdir():
        if file != lone:
            file.unlink()
    card = model_card(lone)
    assert section(card, "Results") == "Not recorded."
    assert section(card, "Hardware, time and energy").splitlines()[:2] == [
        "- Devices: not recorded",
        "- Time: not recorded",
    ]
    assert "- Number of images: not recorded" in section(card, "Data")
    card = model_card(released(tmp_path / "weights.pth", encoder()))
    assert {section(card, title) for title in ("Data", "Training", "Results")} == {"Not recorded."}
    assert section(card, "Starting weights and licence").splitlines() == [
        "Started from: not recorded.",
        "",
        "Not recorded: the file does not say where it comes from.",
    ]
    assert front(card).keys() == {"pipeline_tag", "tags"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"val": 3, "best": {"value": "x"}, "seconds": "long"}'])
def test_a_record_cut_short_is_as_if_it_were_not_there(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "run")
    for name in ("metrics.json", "environment.json", "val.csv"):
        (run / name).write_text(text)
    assert section(model_card(run / "best.ckpt"), "Results") == "Not recorded."
    assert read_record(run).steps_per_epoch is None


def test_hours_of_a_part_of_a_run_are_told_as_such() -> None:
    whole = {"step": 100, "images_per_second": 10.0, "seconds": 170.0}
    assert not Record({}, whole).resumed(16)  # 1,600 images in 160 s, and validations
    assert Record({}, {**whole, "seconds": 80.0}).resumed(16)
    assert Record({"command": ["maekit", "fit", "--ckpt_path=last"]}, whole).resumed(16)
    assert not Record().resumed(16)


def test_an_unfinished_run_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.json").write_text(json.dumps({**METRICS, "status": "interrupted", "images_per_second": 1.0}))
    (run / "environment.json").write_text(json.dumps({"command": ["fit", "--ckpt_path", "last"]}))
    card = model_card(run / "best.ckpt")
    assert "The run did not finish: its record says `interrupted`." in card
    assert "- Time: 1.5 hours since the run was last resumed; the time before is not recorded" in card


# licences


@pytest.mark.parametrize(
    ("given", "start", "ident", "words"),
    [
        ("mae_vit_base", None, "cc-by-nc-4.0", "released these weights under CC-BY-NC 4.0"),
        ("a/mae_finetuned_vit_huge.pth", None, "cc-by-nc-4.0", "inherit that"),
        (
            "a.ckpt",
            "mae_vit_large_full",
            "cc-by-nc-4.0",
            "`mae_vit_large_full`, with which the training of these began",
        ),
        ("a.ckpt", "none", "", "Whoever trained these weights decides."),
        ("a.ckpt", "hf:owner/name@main", "", "page of `owner/name@main`"),
        ("a.ckpt", f"{HOME}/other.pth", "", "Those of `other.pth` hold for these as well; they are not recorded here."),
    ],
)
def test_terms_follow_the_starting_weights(given: str, start: str | None, ident: str, words: str) -> None:
    found = licence_of(given, start)
    assert found.ident == ident
    assert words in found.terms
    assert HOME not in found.terms + found.started_from


def test_terms_follow_a_chain_of_runs(tmp_path: Path) -> None:
    first = make_run(tmp_path / "runs" / "a") / "best.ckpt"
    second = make_run(tmp_path / "runs" / "b", weights=str(first)) / "best.ckpt"
    card = model_card(make_run(tmp_path / "runs" / "c", weights=str(second)) / "best.ckpt")
    assert section(card, "Starting weights and licence").splitlines()[0] == (
        "Started from: `runs/b/best.ckpt`, which was started from `mae_pretrain_vit_base.pth`."
    )
    assert front(card)["license"] == "cc-by-nc-4.0"
    alone = make_run(tmp_path / "runs" / "d", weights="none") / "best.ckpt"
    text = model_card(make_run(tmp_path / "runs" / "e", weights=str(alone)) / "best.ckpt")
    assert "`runs/d/best.ckpt`, whose own training began with random numbers" in text
    round_and_round = make_run(tmp_path / "runs" / "f", weights=str(tmp_path / "runs" / "f" / "best.ckpt"))
    assert "not recorded here" in model_card(round_and_round / "best.ckpt")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{HOME}/birds/", "birds"),
        ("~/birds", "birds"),
        ("C:\\Users\\me\\birds", "birds"),
        (f"{HOME}/runs/task/base/0/best.ckpt", "runs/task/base/0/best.ckpt"),
        ("hf:owner/name", "hf:owner/name"),
        ([f"{HOME}/a", None, 0.5, True], "[a, null, 0.5, true]"),
        ({"folder": f"{HOME}/a"}, "{folder: a}"),
        ("/", ""),
    ],
)
def test_a_path_is_told_by_its_name(value: object, expected: str) -> None:
    assert plain(value) == expected


# what it tells to do


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
        command, parser = import_module(f"maekit.commands.{words[1]}"), argparse.ArgumentParser(add_help=False)
        command.add_arguments(parser)
        _, left = parser.parse_known_args(words[2:])
        assert command.FORWARDS or not left, line
        assert "best.ckpt" in words


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
    with torch.inference_mode():
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


# as typed


def test_a_runs_folder_stands_for_its_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    make_run(tmp_path / "run", step=12, name="last.ckpt")
    assert main(["weights", "card", str(run)]) == 0
    assert capsys.readouterr().out == model_card(run / "best.ckpt")
    (run / "best.ckpt").unlink()
    assert main(["weights", "card", str(run)]) == 0
    assert "- Training: step 12" in capsys.readouterr().out


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["weights", *words]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    (line,) = [line for line in found.err.splitlines() if not line.startswith("weights ")]  # which file a folder means
    return line


def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    (tmp_path / "taken.md").write_text("mine")
    assert "exists already, expected the name of a new file for the card" in refusal(
        ["card", str(run), "--output", str(tmp_path / "taken.md")], capsys
    )
    words = ["convert", str(run), "--to", "timm", str(tmp_path / "taken")]
    assert "taken.md exists already" in refusal(words, capsys)
    assert not (tmp_path / "taken").exists()
    assert (tmp_path / "taken.md").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert "is a folder without config.json" in refusal(["card", str(tmp_path / "empty")], capsys)
    assert "no file" in refusal(["card", str(tmp_path / "nothing.ckpt")], capsys)
    (tmp_path / "text.ckpt").write_text("hello")
    assert "is not a checkpoint but a text file" in refusal(["card", str(tmp_path / "text.ckpt")], capsys)
    whole = (run / "best.ckpt").read_bytes()
    (run / "best.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "is cut short or damaged" in refusal(["card", str(run)], capsys)
    words = ["convert", str(run), "--to", "hf", str(tmp_path / "hf")]
    assert "is cut short or damaged" in refusal(words, capsys)
    assert not (tmp_path / "hf").exists()


def test_a_folder_of_transformers_has_a_card_from_its_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    released(tmp_path / "mae_pretrain_vit_base_full.pth", {**encoder(), **decoder()})
    source = str(tmp_path / "mae_pretrain_vit_base_full.pth")
    assert main(["weights", "convert", source, "--to", "hf", str(tmp_path / "hf")]) == 0
    written = (tmp_path / "hf" / "README.md").read_text()
    assert (front(written)["license"], front(written)["datasets"]) == ("cc-by-nc-4.0", ["imagenet-1k"])
    capsys.readouterr()
    assert main(["weights", "card", str(tmp_path / "hf")]) == 0
    card = capsys.readouterr().out
    assert "- Content: Hugging Face transformers, pre-training with decoder" in card
    assert "mask ratio" not in card
    assert (section(card, "Results"), front(card).get("license")) == ("Not recorded.", None)


def test_a_shipped_file_says_its_results_in_its_metadata(tmp_path: Path) -> None:
    card = {
        "task": "mytask",
        "recipe": "smoke",
        "seed": 3,
        "command": f"{HOME}/bin/maekit fit --data.root {HOME}/birds",
        "commit": "abc1234",
        "decoder_heads": 4,
        "mask_ratio": 0.75,
        "image_size": [32, 32],
        "norm_pix_loss": True,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "results": {"psnr": 17.5, "knn_top1": 80},
        "licence": "Apache 2.0",
    }
    tensors = {name: tensor.half() for name, tensor in {**encoder(), **decoder()}.items()}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt", "maekit": json.dumps(card)})
    text = model_card(tmp_path / "a.safetensors")
    assert "somebody" not in text
    assert section(text, "Results").splitlines()[2:] == ["- psnr: 17.5", "- knn_top1: 80"]
    assert section(text, "Training").splitlines() == ["- mask ratio: 0.75", "- seed: 3", "- commit: abc1234"]
    assert "mean [0.1, 0.2, 0.3], std [0.4, 0.5, 0.6]" in section(text, "Data")
    assert section(text, "What it is").splitlines()[2:] == [
        "- Decoder: 64 wide, 2 blocks, 4 heads",
        f"- Parameters: {sum(t.numel() for t in encoder().values()):,} numbers in the encoder, position table "
        f"included, {sum(t.numel() for t in tensors.values()):,} in all; float16",
    ]
    assert front(text)["license"] == "apache-2.0"


def test_the_shipped_weights_licence_is_known_and_no_published_data_is_claimed(tmp_path: Path) -> None:
    run = licence_of("best.ckpt", "mae_vit_smoke")
    assert (run.ident, run.authors) == ("apache-2.0", False) and "Apache-2.0" in run.terms
    card = model_card(find_weights("mae_vit_smoke"), given="mae_vit_smoke")
    assert "Apache-2.0" in section(card, "Starting weights and licence")
    assert "ImageNet-1K" not in section(card, "Biases and limits")
    published = released(tmp_path / "mae_pretrain_vit_base.pth", encoder())
    assert "have seen it" in section(model_card(published, given="mae_vit_base"), "Biases and limits")
