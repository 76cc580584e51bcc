"""A checkpoint on disk is the old one or the new one, whole, and reads back without running anything."""

import io
import os
import resource
import signal
import stat
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from maekit.errors import UserError
from maekit.system.files import atomic_write, atomic_write_text
from maekit.training.callbacks.checkpoint_io import AtomicCheckpointIO, plain
from maekit.weights.read.safe_load import load_file

MEBI = 2**20


def state(value: float, size: int = 1000) -> dict[str, Any]:
    return {"state_dict": {"weight": torch.full((size,), value)}, "global_step": 3}


def value_in(path: Path) -> float:
    contents: Any = load_file(path)
    weight: Tensor = contents["state_dict"]["weight"]
    assert bool((weight == weight[0]).all())
    return float(weight[0])


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Runs `work` in a forked process; its exit status (negative: the signal that ended it) and its UserError."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            work()
        except UserError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(read, "rb") as pipe:
        return status, pipe.read().decode()


def test_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.ckpt"
    for value in (1.0, 2.0):
        AtomicCheckpointIO().save_checkpoint(state(value), path)
        assert value_in(path) == value
    assert names_in(path.parent) == ["last.ckpt"]


def test_bytes_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    seen: list[tuple[bool, bool]] = []

    def fsync(handle: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    AtomicCheckpointIO().save_checkpoint(state(1.0), path)
    assert seen == [(False, False), (True, True)]  # the file under its other name, then the folder


@pytest.mark.parametrize("limit", [1000, 3 * MEBI])
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(state(1.0), path)

    def save_on_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        AtomicCheckpointIO().save_checkpoint(state(2.0, size=MEBI), path)

    status, text = in_child(save_on_a_full_disk)
    assert status == 0
    assert text.startswith(f"cannot write {path}: File too large (")
    assert "MiB free on its disk); the file that was there is intact;" in text
    assert "\n" not in text
    assert value_in(path) == 1.0
    assert names_in(tmp_path) == ["last.ckpt"]


def test_a_disk_that_fills_at_the_very_end_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=r"No space left on device \(.*; nothing was left behind"):
        AtomicCheckpointIO().save_checkpoint(state(1.0), tmp_path / "last.ckpt")
    assert names_in(tmp_path) == []


def test_ctrl_c_in_the_middle_of_a_save_stays_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(state(1.0), path)

    class Interrupted(io.BytesIO):
        def write(self, data: Any) -> int:
            if len(data) > MEBI:
                raise KeyboardInterrupt
            return super().write(data)

    real_save = torch.save
    monkeypatch.setattr(torch, "save", lambda contents, file: real_save(contents, Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint(state(2.0, size=MEBI), path)
    assert value_in(path) == 1.0
    assert names_in(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize("when", ["half written", "all written"])
def test_kill_9_keeps_the_old_checkpoint_and_the_next_save_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(state(1.0), path)

    def die(handle: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def save_and_die() -> None:
        if when == "all written":
            monkeypatch.setattr(os, "fsync", die)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEBI, 2 * MEBI))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills at the limit
        AtomicCheckpointIO().save_checkpoint(state(2.0, size=MEBI), path)

    status, _ = in_child(save_and_die)
    assert status == -(signal.SIGKILL if when == "all written" else signal.SIGXFSZ)
    assert value_in(path) == 1.0
    leftover = next(p for p in tmp_path.iterdir() if p != path)
    assert leftover.stat().st_size >= 2 * MEBI

    AtomicCheckpointIO().save_checkpoint(state(3.0), path)
    assert leftover.exists()  # as young as this process: another may be writing it
    os.utime(leftover, (0, 0))
    AtomicCheckpointIO().save_checkpoint(state(3.0), path)
    assert names_in(tmp_path) == ["last.ckpt"]
    assert value_in(path) == 3.0


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*: (File exists|Not a directory) .*; nothing was left behind"):
        atomic_write_text(tmp_path / "file" / "a.json", "{}")


def test_text_is_utf8_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    atomic_write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert path.read_bytes() == b"old"
    atomic_write_text(path, "é")
    assert path.read_bytes() == "é".encode()
    assert names_in(tmp_path) == ["metrics.json"]


class Pair(NamedTuple):
    a: int
    b: Tensor


def test_plain_gives_what_reads_back(tmp_path: Path) -> None:
    weights = nn.Linear(2, 3)
    value = {
        "numbers": [1, 2.5, True, None, 1j, np.float64(0.1), np.int64(3)],
        "text": ("a", b"b", Path("/x")),
        "types": {torch.float16, torch.device("cpu")},
        "pair": Pair(1, torch.arange(3)),
        "default": defaultdict(list, {3: [weights.weight]}),
        "shape": weights.weight.shape,
        "state": weights.state_dict(),
    }
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "value": value}, path)
    found = AtomicCheckpointIO().load_checkpoint(path)["value"]
    assert found["numbers"] == [1, 2.5, True, None, 1j, 0.1, 3]
    assert [type(item) for item in found["numbers"]] == [int, float, bool, type(None), complex, float, int]
    assert found["text"] == ("a", b"b", "/x")
    assert found["types"] == value["types"]
    assert type(found["pair"]) is tuple
    assert torch.equal(found["pair"][1], torch.arange(3))
    assert type(found["default"]) is dict
    assert type(found["default"][3][0]) is Tensor
    assert torch.equal(found["default"][3][0], weights.weight)
    assert found["shape"] == torch.Size([3, 2])
    assert vars(found["state"]) == vars(weights.state_dict())  # the versions that load_state_dict looks at
    nn.Linear(2, 3).load_state_dict(found["state"])


def test_plain_copies_no_tensor_and_changes_nothing() -> None:
    weight = torch.ones(3)
    before = {"a": OrderedDict(b=weight), "c": [Path("x")]}
    after = plain(before)
    assert isinstance(after, dict)
    assert after["a"]["b"].data_ptr() == weight.data_ptr()
    assert before["c"] == [Path("x")]


class Unknown:
    pass


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {"b": Unknown()}]}, "checkpoint['a'][1]['b']: got tests.training.test_checkpoint_io.Unknown"),
        ({"a": np.ones(2)}, "checkpoint['a']: got numpy.ndarray"),
        ({"a": len}, "checkpoint['a']: got builtins.builtin_function_or_method"),
        ({(Unknown, 1): 1}, "[0]: got builtins.type"),
        ({"a": np.longdouble(1)}, "checkpoint['a']: got numpy.longdouble"),
        ({"a": nn.Linear(1, 1)}, "checkpoint['a']: got torch.nn.modules.linear.Linear"),
    ],
)
def test_what_could_not_be_read_back_is_refused_with_its_place(
    tmp_path: Path, value: dict[Any, Any], place: str
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(state(1.0), path)
    with pytest.raises(UserError) as caught:
        AtomicCheckpointIO().save_checkpoint(value, path)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)
    assert value_in(path) == 1.0


def test_storage_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="storage_options"):
        AtomicCheckpointIO().save_checkpoint(state(1.0), tmp_path / "a.ckpt", {"key": 1})


def test_loading_never_executes_even_when_told_that_it_may(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save({"state_dict": {}, "x": Runs()}, tmp_path / "a.ckpt")
    for weights_only in (None, True, False):
        with pytest.raises(UserError, match="it was not executed"):
            AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", weights_only=weights_only)
    assert not (tmp_path / "executed").exists()


def test_what_is_no_checkpoint_of_a_run_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "mae.pth")
    with pytest.raises(UserError, match=r"mae\.pth is no checkpoint of a run.*--model\.weights"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "mae.pth")


def test_map_location_is_passed_on(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(state(1.0), tmp_path / "a.ckpt")
    found = AtomicCheckpointIO().load_checkpoint(tmp_path / "a.ckpt", map_location="meta")
    assert found["state_dict"]["weight"].device.type == "meta"


def test_remove_takes_files_folders_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / "0.pt").write_text("")
    (tmp_path / "a.ckpt").write_text("")
    for name in ("sharded", "a.ckpt", "absent"):
        AtomicCheckpointIO().remove_checkpoint(tmp_path / name)
    assert names_in(tmp_path) == []


class Line(LightningModule):
    """y = w x, learned from four points."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"lr": 0.1, "folder": Path("/data")})
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        loss: Tensor = (self.layer(batch[0]) - batch[1]).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)]

    def train_dataloader(self) -> DataLoader[Any]:
        x = torch.arange(4.0)[:, None]
        return DataLoader(TensorDataset(x, 3 * x), batch_size=1)


def fit(folder: Path, max_epochs: int, ckpt_path: Path | None = None) -> Trainer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            default_root_dir=folder,
            plugins=[AtomicCheckpointIO()],
            max_epochs=max_epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        torch.manual_seed(0)
        trainer.fit(Line(), ckpt_path=ckpt_path)
    return trainer


def test_lightning_saves_and_resumes_through_it(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    fit(tmp_path, 1).save_checkpoint(path)
    resumed, whole = fit(tmp_path, 2, ckpt_path=path), fit(tmp_path, 2)
    assert resumed.global_step == whole.global_step == 8
    for left, right in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(left, right)
    contents: Any = torch.load(path, weights_only=True)
    assert {"optimizer_states", "lr_schedulers", "loops", "callbacks"} <= contents.keys()
    assert contents["hyper_parameters"] == {"lr": 0.1, "folder": "/data"}


def test_lightning_refuses_to_resume_from_a_malicious_file(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save({"state_dict": {}, "x": Runs()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="asks to call"):
        fit(tmp_path, 1, ckpt_path=tmp_path / "a.ckpt")
    assert not (tmp_path / "executed").exists()
