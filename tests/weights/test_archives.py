"""Archives that torch.save did not write: TorchScript's tensors and numpy's arrays, and nothing of theirs is run."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maekit.weights.read.safe_load import load_file
from tests.weights.helpers import one_line, same

pytestmark = pytest.mark.numeric


class Program(nn.Module):
    """What a released program has: modules in modules, halves, a buffer, a view, plain values and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.table = nn.Parameter(torch.arange(6.0).view(2, 3).T)
        self.small = nn.Parameter(torch.ones(3).half())
        self.register_buffer("input_resolution", torch.tensor(224))
        self.count, self.names, self.sides = 7, ["a", "b"], [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.visual(x)
        return out


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_program_gives_its_state_dict(tmp_path: Path, traced: bool) -> None:
    program = Program()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and its files stay
        made = torch.jit.trace(program, torch.ones(1, 2)) if traced else torch.jit.script(program)  # type: ignore[no-untyped-call]
        made.save(str(tmp_path / "a.pt"))
    found = load_file(tmp_path / "a.pt")
    assert isinstance(found, dict)
    same(found, program.state_dict())


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "cut short or damaged"),
        (b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00aK\x01sb", "holds nothing, expected tensors by name"),
        (b"\x80\x02ctorch.jit._pickle\nrestore_type_tag\n}X\x01\x00\x00\x00aK\x01sb.", "a name that is changed"),
    ],
)
def test_a_program_of_other_bytes_is_one_line(tmp_path: Path, data: bytes, expected: str) -> None:
    write(tmp_path / "a.pt", data + b"." * (expected[0] == "h"))
    assert expected in one_line(tmp_path / "a.pt")


def test_modules_that_hold_each_other_are_read_once(tmp_path: Path) -> None:
    """Forty modules, each of which holds the next twice: 2^40 places, and the last holds the first."""
    made = b"c__torch__\nM\n)\x81"
    first = made + b"q\x00"
    chain = b"".join(b"}(X\x01\x00\x00\x00a" + made + b"q" + bytes([k]) for k in range(1, 41))
    held = b"".join(b"X\x01\x00\x00\x00bh" + bytes([k]) + b"ub" for k in range(40, 0, -1))
    back = b"}X\x01\x00\x00\x00ch\x00sb"
    write(tmp_path / "a.pt", b"\x80\x02" + first + chain + back + held + b".")
    assert "holds nothing, expected tensors by name" in one_line(tmp_path / "a.pt")


def test_nothing_in_a_program_runs(tmp_path: Path) -> None:
    write(tmp_path / "a.pt", pickle.dumps(Evil(tmp_path / "mark"), protocol=2))
    assert "it was not executed" in one_line(tmp_path / "a.pt")
    assert not (tmp_path / "mark").exists()


def write(path: Path, data: bytes) -> None:
    """An archive that looks like a program's."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"program/{name}", data)


def test_arrays_of_numpy_are_tensors(tmp_path: Path) -> None:
    arrays = {"a/kernel": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.ones(3, np.float16)}
    np.savez(tmp_path / "jax.npz", words=np.array(["x"]), **arrays)  # type: ignore[arg-type]
    found = load_file(tmp_path / "jax.npz")
    assert isinstance(found, dict)
    same(found, {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()})


def test_objects_in_arrays_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([Evil(tmp_path / "mark")], dtype=object))
    assert "a.npz" in one_line(tmp_path / "a.npz")
    assert not (tmp_path / "mark").exists()
