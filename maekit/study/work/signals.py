"""Records Ctrl-C, SIGTERM, SIGHUP and SLURM's SIGUSR1, so that a study stops its runs first and then itself."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


class Signals:
    """Records the signals that come while its block runs.

    Attributes:
        number: the first signal; 0 for none.
        num_interrupts: how often Ctrl-C came; the second kills the runs.
    """

    def __init__(self) -> None:
        self.number = 0
        self.num_interrupts = 0
        self.previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> "Signals":
        """Installs the handlers, in the main thread; Python allows it in no other."""
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
            handled = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # ignored by nohup
            self.previous = {number: signal.signal(number, self._receive) for number in handled}
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the handlers that the block replaced."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def received(self) -> bool:
        """Whether any signal came since the block began."""
        return self.number != 0

    @property
    def name(self) -> str:
        """The first signal, such as `Ctrl-C` or `SIGTERM`."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        self.num_interrupts += number == signal.SIGINT
