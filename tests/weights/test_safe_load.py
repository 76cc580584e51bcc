"""Reading a file builds tensors and plain values, runs nothing, and fails in one line that says what to do."""

import argparse
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from maekit.errors import UserError
from maekit.weights.read.safe_load import load_file

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(contents: object, path: Path, zipped: bool = True) -> Path:
    torch.save(contents, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_file(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


class Runs:
    """Unpickling it creates a file: the proof that something was executed."""

    def __init__(self, marker: Path, call: Callable[..., object] = os.system) -> None:
        self.call, self.marker = call, marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.call, (f"touch {self.marker}",)


@FORMATS
def test_reads_what_released_files_hold(tmp_path: Path, zipped: bool) -> None:
    weight = torch.randn(3, 5)
    numbers = {
        "epoch": 7,
        "float64": np.float64(0.1),
        "float32": np.float32(0.1),
        "int64": np.int64(-3),
        "uint8": np.uint8(255),
        "bool": np.bool_(True),
        "text": np.str_("é"),
    }
    args = argparse.Namespace(lr=np.float64(1e-3), model="vit_base_patch16", betas=(0.9, 0.95), device=None)
    path = save({"model": {"weight": weight}, "args": args, **numbers}, tmp_path / "released.pth", zipped)
    contents: Any = load_file(path)
    assert torch.equal(contents["model"]["weight"], weight)
    assert contents["args"] == args
    assert {key: contents[key] for key in numbers} == {key: np.asarray(value).item() for key, value in numbers.items()}
    assert all(type(contents[key]).__module__ == "builtins" for key in numbers)


def edited(path: Path, old: bytes, new: bytes) -> Path:
    """The same archive with other bytes in its pickle."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path.with_name("edited.pth"), "w") as archive:
        for name, data in entries.items():
            assert old in data or not name.endswith("data.pkl")
            archive.writestr(name, data.replace(old, new))
    return path.with_name("edited.pth")


def test_reads_scalars_of_either_numpy_and_byte_order(tmp_path: Path) -> None:
    path = save(np.float64(0.1), tmp_path / "a.pth")
    current = np.float64(0).__reduce__()[0].__module__.encode()
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        assert load_file(edited(path, current, module)) == 0.1
    swapped = load_file(edited(path, b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>"))
    assert swapped == struct.unpack(">d", struct.pack("<d", 0.1))[0]


def test_reads_safetensors_whatever_the_file_is_called(tmp_path: Path) -> None:
    weight = torch.randn(2, 3).bfloat16()
    save_file({"weight": weight}, tmp_path / "weights.bin")
    contents: Any = load_file(tmp_path / "weights.bin")
    assert torch.equal(contents["weight"], weight)


def test_reads_a_newer_pickle_protocol_without_a_remark(tmp_path: Path) -> None:
    torch.save({"epoch": 7}, tmp_path / "a.pth", pickle_protocol=3)
    assert load_file(tmp_path / "a.pth") == {"epoch": 7}


def test_reads_a_file_that_was_zipped_again(tmp_path: Path) -> None:
    weight = torch.arange(1000.0)
    path = save({"weight": weight}, tmp_path / "a.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    contents: Any = load_file(tmp_path / "b.pth")
    assert torch.equal(contents["weight"], weight)


def test_mapped_tensors_survive_the_file_and_never_write_to_it(tmp_path: Path) -> None:
    weight = torch.randn(1000)
    path = save({"weight": weight}, tmp_path / "a.pth")
    before = path.read_bytes()
    contents: Any = load_file(path)
    loaded = contents["weight"]
    loaded += 1
    assert path.read_bytes() == before
    path.unlink()
    assert torch.equal(loaded, weight + 1)


@FORMATS
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("call", "name"), [(os.system, "posix.system"), (eval, "eval")])
def test_a_pickle_that_calls_something_is_refused_unexecuted(
    tmp_path: Path, zipped: bool, nested: bool, call: Callable[..., object], name: str
) -> None:
    evil = Runs(tmp_path / "executed", call)
    contents = {"model": {"weight": torch.ones(2)}, "args": [{"x": evil}]} if nested else evil
    text = refusal(save(contents, tmp_path / "evil.pth", zipped))
    assert not (tmp_path / "executed").exists()
    assert f"asks to call '{name}'" in text
    assert "it was not executed" in text


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_refused_unexecuted(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Runs(tmp_path / "executed"), protocol=protocol))
    assert ("asks to call 'posix.system'" if protocol else "is not a checkpoint but a text file") in refusal(path)
    assert not (tmp_path / "executed").exists()


def test_the_pickles_of_these_tests_would_execute(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Runs(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def test_a_module_is_refused_by_name(tmp_path: Path) -> None:
    text = refusal(save({"model": torch.nn.Linear(2, 2)}, tmp_path / "module.pth"))
    assert "torch.nn.modules.linear.Linear" in text
    assert "state_dict()" in text


def test_an_object_array_is_left_out_and_what_is_in_it_is_not_run(tmp_path: Path) -> None:
    save({"array": np.array([None])}, tmp_path / "a.pth")
    assert "_Inert" in type(load_file(tmp_path / "a.pth")["array"]).__name__  # type: ignore[index]
    text = refusal(save({"array": np.array([Runs(tmp_path / "executed")])}, tmp_path / "b.pth"))
    assert "system" in text
    assert not (tmp_path / "executed").exists()


def test_numpy_types_that_hold_pointers_are_refused(tmp_path: Path) -> None:
    path = save(np.float64(1), tmp_path / "a.pth")
    assert "numpy type '<O8'" in refusal(edited(path, b"f8", b"O8"))


def test_the_permission_ends_with_the_call(tmp_path: Path) -> None:
    path = save(argparse.Namespace(a=1), tmp_path / "a.pth")
    assert load_file(path) == argparse.Namespace(a=1)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@FORMATS
@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_named_so(tmp_path: Path, zipped: bool, share: float) -> None:
    data = save({"a": torch.randn(100, 100), "b": torch.ones(3)}, tmp_path / "whole.pth", zipped).read_bytes()
    path = tmp_path / "part.pth"
    path.write_bytes(data[: max(16, int(share * len(data)))])
    text = refusal(path)
    assert "is cut short or damaged" in text
    assert f"({path.stat().st_size:,} bytes)" in text


def test_safetensors_cut_short_are_named_so(tmp_path: Path) -> None:
    save_file({"a": torch.randn(100)}, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    for size in (20, 200):
        (tmp_path / "b.safetensors").write_bytes(data[:size])
        assert "is cut short or damaged" in refusal(tmp_path / "b.safetensors")


def test_a_damaged_pickle_is_one_line(tmp_path: Path) -> None:
    data = bytearray(save({"a": [1, 2, "x" * 50]}, tmp_path / "a.pth", zipped=False).read_bytes())
    for position in range(20, len(data), 7):
        damaged = bytes([*data[:position], data[position] ^ 0xFF, *data[position + 1 :]])
        (tmp_path / "b.pth").write_bytes(damaged)
        try:
            load_file(tmp_path / "b.pth")
        except UserError as error:
            assert "\n" not in str(error)  # a flipped byte inside the text is still a valid file


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty (0 bytes)"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"\n<html>404</html>", "a web page"),
        (b"see README\n", "a text file"),
        (b"config: {}\n", "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89HDF\r\n", "HDF5"),
        (bytes(range(128, 256)), "a Python pickle of an unknown protocol"),
        (b"\x01\x02\x03", "something unknown"),
    ],
)
def test_what_is_no_checkpoint_is_told_apart(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    assert what in refusal(path)


def test_another_archive_is_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "a zip archive that torch.save did not write" in refusal(tmp_path / "other.zip")


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    save({}, tmp_path / "mae_pretrain_vit_base.pth")
    assert "did you mean 'mae_pretrain_vit_base.pth'?" in refusal(tmp_path / "mae_pretrian_vit_base.pth")
    save({}, tmp_path / ".zz.partial")
    assert refusal(tmp_path / "zz") == f"no file {tmp_path / 'zz'}; check the path"
    assert f"there is no folder {tmp_path / 'no'}" in refusal(tmp_path / "no" / "a.pth")


def test_a_folder_suggests_what_is_in_it(tmp_path: Path) -> None:
    assert "there is no checkpoint in it" in refusal(tmp_path)
    save({}, tmp_path / "last.ckpt")
    assert "such as 'last.ckpt'" in refusal(tmp_path)
    assert "check its name" in refusal(tmp_path / "last.ckpt" / "inside")


class Asks:
    """Pickles as a call of `getattr`, through which a file could reach anything."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, str]]:
        return getattr, (self.owner, self.name)


def test_getattr_of_a_file_reaches_nothing(tmp_path: Path) -> None:
    contents: Any = load_file(save({"found": Asks([7], "pop"), "array": np.arange(3)}, tmp_path / "a.pth"))
    assert not callable(contents["found"])
    assert not isinstance(contents["array"], np.ndarray)


def test_what_getattr_gave_cannot_be_called(tmp_path: Path) -> None:
    """getattr([], "append")(1), by hand: pickle itself does not write it."""
    path = save({"model": 1}, tmp_path / "a.pth")
    asked = b"\x80\x02cbuiltins\ngetattr\n]X\x06\x00\x00\x00append\x86R"
    for pickled, refused in ((asked + b".", False), (asked + b"K\x01\x85R.", True)):
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, pickled if name.endswith("data.pkl") else data)
        if refused:
            refusal(tmp_path / "b.pth")
        else:
            assert not callable(load_file(tmp_path / "b.pth"))
