"""A model card says what the files say, and nothing of where they lie."""

import json
import re
import socket
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from maekit.cli import main
from maekit.export.card.text import plain
from maekit.export.card.write import model_card
from maekit.runs.record import Record, read_record
from tests.export.helpers import HOME, METRICS, front, make_run, section, tensors_of
from tests.weights.helpers import decoder, encoder, released


def test_a_run_is_described_in_full(tmp_path: Path) -> None:
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
def test_no_path_of_the_machine_is_in_a_card(tmp_path: Path, kind: str, to: str | None) -> None:
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


def test_a_card_is_made_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", "classifier") / "best.ckpt"

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert front(model_card(run))["license"] == "cc-by-nc-4.0"


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


def test_hours_of_a_part_of_a_run_are_marked() -> None:
    whole = {"step": 100, "images_per_second": 10.0, "seconds": 170.0}
    assert not Record({}, whole).resumed(16)  # 1,600 images in 160 s, and validations
    assert Record({}, {**whole, "seconds": 80.0}).resumed(16)
    assert Record({"command": ["maekit", "fit", "--ckpt_path=last"]}, whole).resumed(16)
    assert not Record().resumed(16)


def test_an_unfinished_run_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.json").write_text(json.dumps({**METRICS, "status": "interrupted", "images_per_second": 1.0}))
    (run / "environment.json").write_text(json.dumps({"command": ["fit", "--ckpt_path", "last"]}))
    card = model_card(run / "best.ckpt")
    assert "The run did not finish: its record says `interrupted`." in card
    assert "- Time: 1.5 hours since the run was last resumed; the time before is not recorded" in card


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
def test_a_path_is_cut_to_its_name(value: object, expected: str) -> None:
    assert plain(value) == expected


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


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
