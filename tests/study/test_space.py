"""What a study varies: texts to lists, lists to cells, cells to names and flags; and the devices of its runs."""

import itertools
import json
import os
import re

import pytest
import torch

from maekit.errors import UserError
from maekit.study.define.space import (
    Cell,
    Choice,
    Interval,
    cell_name,
    flags_of,
    grid_cells,
    parse_grid,
    parse_range,
    short_keys,
    short_value,
)
from maekit.study.work.devices import Slot, slots

DECAY, RATE = "optim.layer_decay", "optim.lr"


def test_a_grid_is_every_combination_the_last_key_fastest() -> None:
    cells = grid_cells((Choice(DECAY, (0.65, 1.0)), Choice(RATE, (1e-4, 1e-3, 1e-2))))
    expected = [{DECAY: decay, RATE: rate} for decay in (0.65, 1.0) for rate in (1e-4, 1e-3, 1e-2)]
    assert cells == expected
    assert grid_cells(()) == [{}]


def test_a_grid_has_no_ranges() -> None:
    with pytest.raises(UserError, match=r"range of optim\.lr .*--grid optim\.lr="):
        grid_cells((Interval(RATE, 0.1, 1.0),))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.65, "0.65"),
        (1.0, "1.0"),
        (1e-4, "1e-4"),
        (2.5e-5, "2.5e-5"),
        (-1e-4, "-1e-4"),
        (1e-3, "0.001"),
        (1.5e7, "1.5e7"),
        (0.0, "0.0"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        ("none", "none"),
        ([0.9, 0.999], "[0.9,0.999]"),
    ],
)
def test_values_are_short_and_read_back_as_they_are(value: object, text: str) -> None:
    assert short_value(value) == text
    if isinstance(value, float):
        assert float(text) == value


def test_names_are_of_the_last_part_unless_two_keys_end_alike() -> None:
    assert cell_name({DECAY: 0.65, RATE: 1e-4}, 1) == "layer_decay=0.65,lr=1e-4,seed=1"
    assert short_keys(["data.size", "model.size", RATE]) == {
        "data.size": "data.size",
        "model.size": "model.size",
        RATE: "lr",
    }
    assert cell_name({"data.size": 1, "model.size": 2}, 0) == "data.size=1,model.size=2,seed=0"


def test_names_are_safe_short_and_tell_all_cells_apart() -> None:
    paths = ["../a", "-./a", "/etc/passwd", "ü b", "x" * 300, "x" * 299 + "y", "a\nb", 'a"b', "CON:"]
    lists = [[0.9, 0.95], [0.9, 0.999], [0.9]]
    cells: list[Cell] = [
        {"model.weights": path, "optim.betas": betas} for path, betas in itertools.product(paths, lists)
    ]
    names = [cell_name(cell, seed) for cell in cells for seed in (0, 1)]
    assert len({name.lower() for name in names}) == len(names) == 54
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._=,+-]{1,120}", name)
        assert not name.startswith(".")
    assert names == [cell_name(cell, seed) for cell in cells for seed in (0, 1)]


def test_floats_that_differ_in_the_last_bit_have_two_names() -> None:
    low = 0.1 + 0.2
    assert low != 0.3
    assert cell_name({RATE: low}, 0) != cell_name({RATE: 0.3}, 0)


def test_flags_are_those_of_fit() -> None:
    cell: Cell = {RATE: 1e-4, "optim.betas": [0.9, 0.95], "model.weights": "none", "data.root": None, "model.ema": True}
    assert flags_of(cell, 3) == [
        "--optim.lr=0.0001",
        "--optim.betas=[0.9, 0.95]",
        "--model.weights=none",
        "--data.root=null",
        "--model.ema=true",
        "--run.seed=3",
    ]


def test_the_text_of_a_grid() -> None:
    assert parse_grid("optim.lr=1e-4, 1e-3") == (RATE, ["1e-4", "1e-3"])
    assert parse_grid("optim.betas=[0.9,0.95],[0.9,0.999]") == ("optim.betas", ["[0.9,0.95]", "[0.9,0.999]"])
    assert parse_grid("x.y={a: 1, b: [2,3]},'p,q',null") == ("x.y", ["{a: 1, b: [2,3]}", "'p,q'", "null"])
    assert parse_grid("data.root=a=b") == ("data.root", ["a=b"])


@pytest.mark.parametrize("text", ["optim.lr", "optim.lr=", "=1,2", "optim.lr=1,", "optim.lr=1,,2", ""])
def test_a_grid_needs_a_key_and_values(text: str) -> None:
    with pytest.raises(UserError, match=r"^--grid: got '"):
        parse_grid(text)


def test_the_text_of_a_range() -> None:
    assert parse_range("optim.lr=1e-4:1e-2:log") == Interval(RATE, 1e-4, 1e-2, log=True)
    assert parse_range("optim.lr=0:0.5") == Interval(RATE, 0, 0.5, log=False)
    whole = parse_range("trainer.max_epochs=10:50")
    assert whole == Interval("trainer.max_epochs", 10, 50)
    assert whole.whole
    assert not parse_range("optim.lr=0:0.5").whole


@pytest.mark.parametrize(
    "text",
    ["optim.lr", "optim.lr=1", "=1:2", "optim.lr=a:b", "optim.lr=1:2:lin", "optim.lr=1:2:log:log", "optim.lr=0:inf"],
)
def test_a_range_in_another_form(text: str) -> None:
    with pytest.raises(UserError, match=r"^--range: got '"):
        parse_range(text)


@pytest.mark.parametrize(
    ("text", "why"), [("1:1", "below HIGH$"), ("2:1", "below HIGH$"), ("0:1:log", "below HIGH and above 0$")]
)
def test_a_range_that_holds_nothing(text: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"^--range optim.lr: got .*, expected LOW {why}"):
        parse_range(f"optim.lr={text}")


def accelerators(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None = None, cores: int = 8) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def test_one_run_at_a_time_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators(monkeypatch, 4)
    assert slots("1") == [Slot("this machine", {})]


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators(monkeypatch, 0)
    share = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    assert slots("cpu:4") == slots("4") == [Slot(f"cpu {i}", share) for i in (1, 2, 3, 4)]
    assert slots("cpu") == [Slot("cpu 1", {**share, "OMP_NUM_THREADS": "8"})]
    assert slots("cpu:16")[0].env["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert "OMP_NUM_THREADS" not in slots("cpu:4")[0].env


def test_each_run_sees_one_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators(monkeypatch, 4)
    assert slots("cuda:0,3,3") == [
        Slot("cuda:0", {"CUDA_VISIBLE_DEVICES": "0"}),
        Slot("cuda:3", {"CUDA_VISIBLE_DEVICES": "3"}),
        Slot("cuda:3", {"CUDA_VISIBLE_DEVICES": "3"}),
    ]
    assert [slot.name for slot in slots("2")] == ["cuda:0", "cuda:1"]


def test_accelerators_are_counted_among_those_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators(monkeypatch, 2, visible="5,GPU-8f")
    assert [slot.env for slot in slots("cuda:1,0")] == [
        {"CUDA_VISIBLE_DEVICES": "GPU-8f"},
        {"CUDA_VISIBLE_DEVICES": "5"},
    ]


@pytest.mark.parametrize("spec", ["0", "-1", "cpu:0", "cpu:x", "cuda", "cuda:", "cuda:a", "gpu:0", "", "2,3"])
def test_devices_in_another_form(spec: str) -> None:
    with pytest.raises(UserError, match=rf"^--parallel: got '{spec}'"):
        slots(spec)


def test_more_runs_than_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators(monkeypatch, 2)
    with pytest.raises(UserError, match=r"^--parallel: got 3, .* 2 accelerators; .* cuda:0,1,0$"):
        slots("3")
    with pytest.raises(UserError, match=r"^--parallel: got cuda:2, .* cuda:0 to cuda:1; .* cpu:1$"):
        slots("cuda:2")
    accelerators(monkeypatch, 0)
    with pytest.raises(UserError, match=r"^--parallel: got cuda:0, .* no CUDA device; .* cpu:1$"):
        slots("cuda:0")


def test_cells_are_plain_values() -> None:
    cells = grid_cells((Choice("optim.betas", ([0.9, 0.95], None)),))
    assert json.loads(json.dumps(cells)) == cells
