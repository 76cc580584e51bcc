"""`maekit plan`: what it prints, what it chooses, and one line for what it cannot plan."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from maekit.cli import main
from maekit.planning.devices import GIB, find_devices


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["plan", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return error


def test_a_recipe_alone_names_the_task_and_prints_commands_that_keep_the_total_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = planned(capsys, "--recipe", "base_800ep", "--devices", "4x8GiB", "--optim.layer_decay", "0.7")
    assert "recipe of task mae_pretrain" in text and "1,281,167" in text and "not predicted" in text
    commands = [line.split() for line in text.splitlines() if line.startswith("  maekit fit")]
    assert 1 <= len(commands) <= 4
    for words in commands:
        flags = dict(zip(words[2::2], words[3::2], strict=True))
        assert flags["--optim.layer_decay"] == "0.7" and flags["--trainer.devices"] == "4"
        assert 4096 % (4 * int(flags["--data.device_batch_size"])) == 0


def test_data_of_a_table_are_counted_and_values_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "--model.backbone=vit_smoke_patch8", "--data.image_size=32", "--devices=1x8GiB", "--data.total_batch_size=4"
    words = "--task=regression_finetune", "--recipe=base", *small, "--data.device_batch_size=4"
    assert "assumed: 1 value; give --data.root" in planned(capsys, *words)
    rows = ["file,value,split"]
    for number in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number},{'val' if number > 3 else 'train'}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    text = planned(capsys, *words, f"--data.table={tmp_path / 'table.csv'}")
    assert "4 training and 2 validation images with value" in text


def test_json_has_every_setting_and_a_card_has_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--task", "imagenet_finetune", "--recipe", "smoke", "--devices", "2xH100", "--json", "--share", "0.5"
    found = json.loads(planned(capsys, *words))
    assert found["predicted"] and found["precision"] == "32-true"
    assert {setting["strategy"] for setting in found["settings"]} == {"ddp", "fsdp2"}
    for setting in found["settings"]:
        batch = setting["batch"]
        assert batch["total"] == batch["devices"] * batch["device_batch"] * batch["accumulation"]
        assert setting["total_bytes"] > sum(found["state_bytes"].values()) / 2 and setting["seconds"] > 0
    assert found["rate"]["flops"] == 0.5 * 67e12


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--devices", "4x1GiB", "--recipe", "base", "--task", "imagenet_finetune"], r"expected \d\.\d GiB or more"),
        (["--devices", "0x24GiB"], "expected 1 device or more"),
        (["--devices", "+24GiB"], "expected a number and a kind"),
        (["--devices", "4xH10O"], "H100"),
        (["--devices", "2xA100"], "A100-40GB or A100-80GB"),
        (["--devices", "3x24GiB"], "on 3 devices, expected a whole number"),
        (["--devices", "1x24GiB", "--data.device_batch_size", "7"], "got device batch 7"),
        (["--devices", "2x24GiB", "--trainer.strategy", "fsdp3"], "expected fsdp2"),
        (["--devices", "2x24GiB", "--trainer.devices", "2"], "--devices"),
        (["--devices", "1x24GiB", "--share", "3"], "at most 1"),
        (["--task", "imagenet_robustness", "--recipe", "smoke"], "only evaluates"),
        (["--task", "imagenet_finetune", "--model.mixupp", "1"], "mixup"),
    ],
)
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    task = [] if "--task" in words else ["--task", "imagenet_finetune", "--recipe", "smoke"]
    assert re.search(expected, refused(capsys, *task, *words))


def test_a_recipe_that_no_task_has_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "huge_448" in refused(capsys, "--recipe", "gigantic")


def test_a_users_own_task_is_planned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["copy", "imagenet_finetune", str(tmp_path), "--name", "mine"]) == 0
    task = tmp_path / "tasks" / "mine.py"
    text = planned(capsys, "--task", str(task), "--recipe", "smoke", "--devices", "1x24GiB")
    assert f"--task {task}" in text


def test_devices_by_name_and_by_memory() -> None:
    plain, card = find_devices("4x24GiB"), find_devices("8xa100-80gb")
    assert (plain.count, plain.memory, plain.half) == (4, 24 * GIB, None)
    assert (card.count, card.name, card.memory) == (8, "A100-80GB", 80 * GIB)
    assert find_devices("1xcpu").kind == "cpu"
