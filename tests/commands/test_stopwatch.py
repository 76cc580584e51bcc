"""Where the time of a loop over images goes."""

from maekit.commands.shared.stopwatch import Stopwatch


def test_each_lap_counts_as_its_part() -> None:
    times = iter([10.0, 10.25, 11.25, 11.5, 12.0])
    watch = Stopwatch(lambda: next(times))
    for part in ("reading", "model", "writing", "reading"):
        watch.lap(part)
    assert watch.seconds == {"reading": 0.75, "model": 1.0, "writing": 0.25}
    assert watch.line(4) == "500.0 ms an image: reading 187.5, model 250.0, writing 62.5"
