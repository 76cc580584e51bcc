"""`--data.device_batch_size auto`: the number it chooses, that nothing else changes, and what other commands say."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from maekit.cli import main
from maekit.errors import UserError
from maekit.system import memory
from maekit.training.process import CHOSEN
from maekit.training.search import device_batch
from maekit.training.search.device_batch import attempt, choose, largest_that_runs
from tests.conftest import TINY, few_digits
from tests.helpers_run import error_line, losses, same_weights, tiny


def out_of_memory_above(limit: int, tried: list[int]) -> Callable[[int], None]:
    def run(images: int) -> None:
        tried.append(images)
        if images > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return run


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 6, 31, 32, 95, 96, 1000])
def test_the_largest_divisor_that_runs_is_found_by_bisection(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)
    sizes = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 96]
    tried: list[int] = []
    found, count = largest_that_runs(sizes, out_of_memory_above(limit, tried))
    assert found == max((size for size in sizes if size <= limit), default=None)
    assert tried[0] == 96 and len(tried) == count <= 5 and len(set(tried)) == count


def test_another_error_than_memory_is_not_hidden() -> None:
    def run(images: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_runs([1, 2], run)


@pytest.mark.parametrize("fails", [False, True])
def test_a_try_leaves_weights_statistics_and_generators_alone(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tiny(tmp_path, "imagenet_linprobe")
    model, losses_of = session.model, session.model.training_losses
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def training_losses(batch: Any) -> dict[str, torch.Tensor]:
        random.random(), np.random.rand(), torch.rand(1)
        found = losses_of(batch)
        assert not torch.equal(model.head.fc_norm.running_mean, before["head.fc_norm.running_mean"])  # type: ignore[union-attr, arg-type]
        if fails:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(model, "training_losses", training_losses)
    found, _ = largest_that_runs(
        [4], lambda images: attempt(session.settings, model, torch.device("cpu"), images, 1000)
    )
    assert found == (None if fails else 4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert random.getstate() == drawn[0] and torch.equal(torch.get_rng_state(), drawn[2])
    assert np.array_equal(np.random.get_state()[1], drawn[1][1])  # type: ignore[index]


def with_memory(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(device_batch, "available_memory", lambda: round(gib * 2**30))


def test_a_run_keeps_the_number_and_its_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mixup pairs images, so only even divisors of the share count; a resume goes on with the number."""
    monkeypatch.setattr(device_batch, "largest_device_batch", lambda *_, **__: 4)
    with_memory(monkeypatch, 3)
    options: dict[str, Any] = {"model__mixup": 0.8, "trainer__max_steps": 3}
    session = tiny(tmp_path / "auto", data__device_batch_size="auto", **options)
    run = Path(session.fit()["folder"])
    said = capsys.readouterr().out
    assert "auto    data.device_batch_size 4: predicted to need at most half of 3.0 GiB" in said
    assert said.index("auto    data") < said.index("batch   16 = 1 devices x 4 images x 4 accumulated")
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["device_batch_size"] == 4
    plain = Path(tiny(tmp_path / "plain", data__device_batch_size=4, **options).fit()["folder"])
    same_weights(run / "last.ckpt", plain / "last.ckpt")
    assert losses(run) == losses(plain)
    monkeypatch.setattr(device_batch, "largest_device_batch", lambda *_, **__: 16)
    assert main(["fit", "--ckpt_path", str(run), "--run.extend=true", "--trainer.max_steps=4"]) == 0
    said = capsys.readouterr().out
    assert "batch   16 = 1 devices x 4 images x 4 accumulated" in said and "auto  " not in said


def test_the_prediction_follows_the_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny(tmp_path, data__total_batch_size=24, data__device_batch_size="auto", model__mixup=0.8)

    def chosen(gib: float) -> int:
        with_memory(monkeypatch, gib)
        return choose(session.settings, session.model, 1).images

    assert chosen(64) == 24
    assert chosen(1.0068) in (2, 4, 6, 8, 12)  # half of it is a process's and 4 MB
    with pytest.raises(UserError, match=r"not even 2 images at a time fit .*gradient_checkpointing true.*maekit plan"):
        chosen(0.5)


def test_all_processes_take_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = tiny(tmp_path, data__device_batch_size="auto")
    monkeypatch.setattr(device_batch, "largest_device_batch", lambda *_, **__: 8)
    monkeypatch.setattr(device_batch, "joined", lambda: True)
    monkeypatch.setattr(device_batch, "gathered", lambda value: [value, 2])
    found = choose(session.settings, session.model, 2)
    assert found.images == 2 and "least memory" in found.why
    monkeypatch.setattr(device_batch, "joined", lambda: False)
    monkeypatch.setattr(device_batch, "gathered", lambda value: [value])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(CHOSEN, "1")  # of a run before
    assert choose(session.settings, session.model, 2).images == 8
    monkeypatch.setenv("LOCAL_RANK", "1")  # a process that Lightning started with what the first has chosen
    monkeypatch.setattr(device_batch, "largest_device_batch", lambda *_, **__: 16)
    assert choose(session.settings, session.model, 2).images == 8


def test_a_gpu_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer's bytes and a tenth of the memory are held beside each try."""
    session = tiny(tmp_path, data__device_batch_size="auto")
    tried: list[tuple[int, int]] = []

    def try_on(settings: Any, model: Any, device: Any, images: int, held: int) -> None:
        tried.append((images, held))
        if images > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    class Properties:
        total_memory = 10_000_000

    monkeypatch.setattr(device_batch, "attempt", try_on)
    monkeypatch.setattr(device_batch, "accelerator_of", lambda values: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    found = choose(session.settings, session.model, 1)
    assert found.images == 4 and "ran on a GPU, 10% of 0 GiB left free" in found.why
    trained = [parameter for parameter in session.model.parameters() if parameter.requires_grad]
    state = sum(8 * parameter.numel() + 4 for parameter in trained)
    assert {held for _, held in tried} == {1_000_000 + state}


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {1: ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
    (tmp_path / "memory").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert memory.available_memory() == 8000 * 1024
    for name, value in zip(names[version], ("5000000", "2000000"), strict=True):
        (tmp_path / name).write_text(f"{value}\n")
    assert memory.available_memory() == 3_000_000
    (tmp_path / names[version][0]).write_text("max\n")
    assert memory.available_memory() == 8000 * 1024


def test_other_commands_take_auto(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(device_batch, "largest_device_batch", lambda *_, **__: 8)
    auto, data = "--data.device_batch_size=auto", f"--data.root={few_digits()}"
    task = ["--task", "imagenet_finetune", "--recipe", "smoke"]
    assert main(["lr-table", *task, auto]) == 0
    assert main(["fit", *task, auto, "--print_config"]) == 0
    assert "device_batch_size: auto" in capsys.readouterr().out
    assert main(["data", "check", *task, f"--root={few_digits()}", auto]) == 0
    assert main(["sweep", *task, auto, "--grid=optim.layer_decay=0.5,0.9", "--dry_run"]) == 0
    assert main(["validate", *task, *TINY, data, auto]) == 0
    assert "auto    data.device_batch_size 16: a validation alone" in capsys.readouterr().out
    assert main(["lr-find", *task, *TINY, data, auto, "--steps=10", "--to=0.1x"]) == 0
    said = capsys.readouterr().out
    assert "auto    data.device_batch_size 8: " in said and "steps of 16 images, 8 at a time" in said
    assert "expected" in error_line(capsys, "fit", *task, *TINY, data, "--data.device_batch_size=most")
    odd = ["--data.total_batch_size=15", "--trainer.devices=2", "--trainer.accelerator=cpu", auto]
    assert "got total batch 15 on 2 devices" in error_line(capsys, "fit", *task, *TINY, data, *odd)
    assert not [*tmp_path.glob("runs/*/*/*")]
