"""Ctrl-C, SIGTERM and SLURM's signals, as a study takes them: its runs stop in order, then it does."""

import signal
import threading
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


class Signals:
    """Notes the signals that come inside its block.

    Attributes:
        number: the first that came; 0 for none.
        count: how many came; the second Ctrl-C ends the runs at once.
    """

    def __init__(self) -> None:
        self.number = 0
        self.count = 0
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        """Takes the signals over; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
            heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # as under nohup
            self.previous = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        """Gives them back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def came(self) -> bool:
        """Whether one came."""
        return self.number != 0

    @property
    def said(self) -> str:
        """The first that came, in words."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        self.count += number == signal.SIGINT
