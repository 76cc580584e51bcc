"""Processes that were not started alike are refused, with the first difference."""

from dataclasses import replace
from pathlib import Path

import pytest

from maekit.base.identity import DataIdentity, Split
from maekit.errors import UserError
from maekit.training.processes.same_start import Start, hosts_of, require_same, start_of

VALUES = {
    "run": {"folder": "runs", "seed": 0, "num_threads": 1},
    "data": {"root": "/", "num_workers": 2, "total_batch_size": 16},
    "optim": {"lr": 0.1},
}


def a_start(node: int = 0, images: int = 80, mark: str = "ab", classes: tuple[str, ...] = ("a", "b")) -> Start:
    identity = DataIdentity(Path("/"), classes, {"train": Split(images, mark)})
    return start_of(node, "t", "smoke", VALUES, identity)


def test_equal_starts_pass_wherever_data_and_runs_lie(tmp_path: Path) -> None:
    values = {
        "run": {"folder": "elsewhere", "seed": 0, "num_threads": 8},
        "data": {"root": str(tmp_path), "num_workers": 9, "total_batch_size": 16},
        "optim": {"lr": 0.1},
    }
    other = start_of(1, "t", "smoke", values, DataIdentity(tmp_path, ("a", "b"), {"train": Split(80, "ab")}))
    require_same([a_start(), replace(other, host="gpu8"), replace(other, host="gpu8")])
    assert hosts_of([replace(a_start(), host="gpu7"), replace(other, host="gpu8")]) == ["gpu7", "gpu8"]


def other_settings(**settings: str) -> Start:
    start = a_start(1)
    return replace(start, settings={**start.settings, **{key.replace("__", "."): v for key, v in settings.items()}})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(a_start(1), versions={**a_start().versions, "torch": "1.0"}), "has torch 1.0, process 0 on"),
        (other_settings(optim__lr="0.2"), "has --optim.lr 0.2, process 0 on h 0.1; start every process with the same"),
        (other_settings(run__seed="1"), "has --run.seed 1, process 0 on h 0;"),
        (replace(a_start(1), settings={**a_start().settings, "--recipe": "base"}), "has --recipe base, process 0"),
        (a_start(1, images=79, mark="cd"), "has other data, 79 train images (fingerprint cd), process 0 on h 80 train"),
        (a_start(1, classes=("a", "c")), "has other data, 2 classes"),
    ],
)
def test_the_first_difference_is_named(other: Start, words: str) -> None:
    first = replace(a_start(), host="h")
    with pytest.raises(UserError) as caught:
        require_same([first, first, other])
    assert caught.value.shared
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"process 2 on {other.host} ")
