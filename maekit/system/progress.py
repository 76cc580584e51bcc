"""Shows how far a long loop is: a bar on a terminal, else a line after 10, 30 and 60 s, then one a minute. No torch."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

from maekit.system.rank import rank

if TYPE_CHECKING:
    from tqdm import tqdm as Bar

T = TypeVar("T")

FIRST_SECONDS = (10.0, 30.0, 60.0)  # after these a line is due, then every 60 s


class Pace:
    """Says when a piped loop owes a line: after 10, 30 and 60 seconds, then every 60.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.start = clock()
        self.next = FIRST_SECONDS[0]

    def seconds(self) -> float:
        """Returns the seconds since the start."""
        return self.clock() - self.start

    def due(self) -> bool:
        """Returns whether a line is due now; it is then due again at the next of its times."""
        passed = self.seconds()
        if passed < self.next:
            return False
        later = [mark for mark in FIRST_SECONDS if mark > passed]
        self.next = later[0] if later else passed + 60
        return True


class Progress:
    """How many of `total` things are done; a context manager that closes its bar. Silent on ranks after the first.

    Args:
        name: the first word of each line, such as the command.
        total: how many there are; None if nobody knows beforehand.
        unit: what is counted, in the singular.
        done: how many an earlier process did.
        show: false to show nothing.
        bar: false to print lines on a terminal too.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        unit: str = "image",
        *,
        done: int = 0,
        show: bool = True,
        bar: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self._before, self._pace = done, Pace(clock)
        self._shown = show and rank() == 0
        self._bar: Bar[NoReturn] | None = None
        if self._shown and bar and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=name, unit=unit, dynamic_ncols=True, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, count: int = 1) -> None:
        """Counts `count` more as done, and shows it where that is due."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._shown and self._pace.due():
            print(self._line(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()

    def _line(self) -> str:
        passed, made = self._pace.seconds(), self.done - self._before
        units = f"{self.unit}{'es' if self.unit.endswith('ch') else 's'}"
        count = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        missing = None if self.total is None else self.total - self.done
        return f"{self.name}: {count} {units}  {times(passed, made, missing)}"


def times(passed: float, made: int, missing: int | None) -> str:
    """Returns `0:10 elapsed, 0:35 left`; without the second where it is unknown.

    Args:
        passed: seconds since the start.
        made: things done in that time.
        missing: things that are still to be done; None if unknown.
    """
    elapsed = f"{clock_text(passed)} elapsed"
    return elapsed if missing is None or made <= 0 else f"{elapsed}, {clock_text(passed / made * missing)} left"


def clock_text(seconds: float) -> str:
    """Returns a time of so many seconds as a clock shows it: `0:07`, `2:05`, `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def tracked(
    items: Iterable[T], name: str, total: int | None, unit: str = "image", size: Callable[[T], int] = lambda _: 1
) -> Iterator[T]:
    """Yields the items and shows progress after each was worked on.

    Args:
        items: things or batches of things.
        name: the first word of each line.
        total: how many units there are in all; None if unknown.
        unit: what is counted.
        size: how many units an item is, such as the images of a batch.
    """
    with Progress(name, total, unit) as progress:
        for item in items:
            yield item
            progress.advance(size(item))
