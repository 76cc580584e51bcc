"""What a run took is of all its sessions, and nothing measured is lost between two of them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from maekit.runs.rows import text_rows
from maekit.training.callbacks import record as of_record
from maekit.training.callbacks.record import Record
from maekit.training.run import Run, evaluation_files
from tests.helpers_run import tiny


class Clock:
    """Time that passes only where a test lets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def trained(record: Record, clock: Clock, steps: int, seconds: float, *, other: float) -> None:
    """A session of so many steps of so many seconds, and other time."""
    clock.now += other
    for _ in range(steps):
        clock.now += seconds
        record.training_seconds += seconds
        record.steps_seen += 1
        record.data_seconds += 0.2


def test_what_was_spent_adds_up_over_three_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(of_record, "time", clock)
    state: dict[str, Any] | None = None
    for steps, seconds, other in ((10, 2.0, 5.0), (0, 0.0, 1.0), (30, 1.0, 4.0)):
        record = Record(tmp_path, 50)
        if state is not None:
            record.load_state_dict(json.loads(json.dumps(state)))  # plain values only
        trained(record, clock, steps, seconds, other=other)
        state = record.state_dict()
        clock.now += 1000.0  # between two sessions nothing runs
    assert state is not None
    assert state["spent"].pop("data_seconds") == pytest.approx(8.0)
    assert state["spent"] == {"sessions": 3, "seconds": 60.0, "training_seconds": 50.0, "steps": 40}


def test_a_session_logs_its_first_step_and_each_fiftieth(tmp_path: Path) -> None:
    record = Record(tmp_path, 50)
    record.load_state_dict({"spent": {"sessions": 1, "steps": 120}, "validated": {}, "peak_memory_gib": 0.0})
    assert record.due(121)
    record.steps_seen = 1
    assert [step for step in range(122, 260) if record.due(step)] == [150, 200, 250]


def test_the_result_of_a_paused_run_is_of_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_record, "peak_memory_gib", lambda trainer: 7.5)
    first = tiny(tmp_path, trainer__max_epochs=1, run__stop_at_step=3).fit()
    monkeypatch.setattr(of_record, "peak_memory_gib", lambda trainer: 2.5)
    run = Path(first["folder"])
    assert first["sessions"] == 1
    second = tiny(tmp_path, trainer__max_epochs=1).fit(run / "last.ckpt")
    assert (second["status"], second["sessions"], second["step"]) == ("finished", 2, 5)
    assert second["seconds"] >= first["seconds"]
    assert second["peak_memory_gib"] == 7.5
    rates = [float(row["images_per_second"]) for row in text_rows(run / "train.csv")]
    assert len(rates) == 5
    assert second["images_per_second"] == pytest.approx(5 / sum(1 / rate for rate in rates), rel=0.02)
    assert json.loads((run / "metrics.json").read_text()).items() <= second.items()
    shares = [row["data_share"] for row in text_rows(run / "train.csv")]
    assert [bool(share) for share in shares] == [False, True, True, False, True]  # not of a session's first step
    assert all(0 < float(share) < 1 for share in shares if share)  # loaded in the training process: never 0
    assert second["data_share"] is not None
    assert 0 < second["data_share"] < 1


def test_a_run_killed_before_its_last_file_was_written_gets_it(tmp_path: Path) -> None:
    """All steps are done and saved; what was measured is in the checkpoint, and is not measured again."""
    first = tiny(tmp_path, trainer__max_steps=2).fit()
    run = Path(first["folder"])
    (run / "metrics.json").unlink()
    for file in sorted((run / "examples").iterdir()):
        file.unlink()
    again = tiny(tmp_path, trainer__max_steps=2).fit(run / "last.ckpt")
    kept = json.loads((run / "metrics.json").read_text())
    for name in ("status", "step", "val", "best", "images_per_second"):
        assert kept[name] == again[name] == first[name], name
    assert kept["sessions"] == 2
    assert len(text_rows(run / "val.csv")) == 1
    assert (run / "examples/examples.json").is_file() and (run / "examples/best_0.jpg").is_file()


def test_only_the_first_process_computes_what_is_kept_of_an_evaluation() -> None:
    """A bootstrap interval takes seconds, and only the first of several processes writes or prints it."""
    other = SimpleNamespace(trainer=SimpleNamespace(is_global_zero=False), module=None)
    assert evaluation_files(cast(Run, other)) == {}
