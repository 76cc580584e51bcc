"""Ends a process if its main thread does not handle a signal, as while it waits for another machine."""

import os
import signal
import threading
from collections.abc import Callable, Collection

GRACE_SECONDS = 4.0


class Watchdog:
    """A thread that is notified of each signal at once.

    Python runs a signal's handler in the main thread, and not before the call into C that it is in returns: a process
    that waits for others (`init_process_group`, a collective) waits on, whatever it is sent. C's own handler writes the
    signal's number into a pipe (`signal.set_wakeup_fd`), which this thread reads.

    Args:
        numbers: signals that count.
        is_urgent: given a number when it arrives, whether the process must end soon.
        end: called with the number when the process is still there after `GRACE_SECONDS`; it need not return.
    """

    def __init__(self, numbers: Collection[int], is_urgent: Callable[[int], bool], end: Callable[[int], None]) -> None:
        self.numbers, self.is_urgent, self.end = numbers, is_urgent, end
        self.left = threading.Event()
        self.out, self.into = os.pipe()
        os.set_blocking(self.into, False)
        self.previous = signal.set_wakeup_fd(self.into, warn_on_full_buffer=False)
        self.thread = threading.Thread(target=self._watch, daemon=True, name="maekit-signals")
        self.thread.start()

    def close(self) -> None:
        """Ends the thread, from the main thread."""
        self.left.set()
        signal.set_wakeup_fd(self.previous)
        os.write(self.into, b"\0")  # a forked process may hold this end too, so closing it would not wake the thread
        self.thread.join()
        os.close(self.into)
        os.close(self.out)

    def _watch(self) -> None:
        while not self.left.is_set():
            number = os.read(self.out, 1)[0]
            if number in self.numbers and self.is_urgent(number) and not self.left.wait(GRACE_SECONDS):
                self.end(number)
