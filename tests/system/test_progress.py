"""Progress: lines when piped, a bar on a terminal, nothing on other ranks."""

import io
from collections.abc import Iterator

import pytest

from maekit.system.progress import Pace, Progress, clock_text, tracked


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_is_due_after_10_30_and_60_seconds_then_every_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    due = []
    for second in range(301):
        clock.now = 100.0 + second
        due += [second] if pace.due() else []
    assert due == [10, 30, 60, 120, 180, 240, 300]


def test_a_slow_thing_does_not_bring_several_lines() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now += 45
    assert pace.due() and not pace.due()
    clock.now = 160
    assert pace.due()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")]
)
def test_times_are_written_as_a_clock_shows_them(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_a_piped_line_says_how_many_are_done_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("predict", 1300, done=100, clock=clock) as progress:
        progress.advance(100)  # too early for a line
        clock.now += 20
        progress.advance(200)
    assert capsys.readouterr().err == "predict: 400/1,300 images  0:20 elapsed, 1:00 left\n"


def test_an_unknown_total_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress("data", None, "scene", clock=clock)
    clock.now += 10
    progress.advance(7)
    assert capsys.readouterr().err == "data: 7 scenes  0:10 elapsed\n"


def test_other_ranks_show_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    clock = Clock()
    progress = Progress("predict", 3, clock=clock)
    clock.now += 100
    progress.advance()
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_that_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with Progress("predict", 3) as progress:
        progress.advance(2)
    shown = screen.getvalue()
    assert "predict" in shown and "/3" in shown and shown.endswith("\r")


def test_tracked_counts_the_units_of_each_batch_after_it_was_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)

    def batches() -> Iterator[list[int]]:
        yield [1, 2]
        yield [3]

    assert list(tracked(batches(), "embed", 3, size=len)) == [[1, 2], [3]]
    assert "embed" in screen.getvalue()
