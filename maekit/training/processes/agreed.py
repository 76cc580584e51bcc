"""Agrees on a number among the processes of a run without waiting for their devices."""

from collections import deque

import torch
from torch import Tensor, distributed

from maekit.training.processes.meeting import control, joined


class Agreed:
    """The largest of every process's numbers, known to all of them at the same call.

    The numbers go over the CPU, so no device is waited for. A process would still wait there for the slowest one at
    each call; `delay` calls of slack let hosts run ahead of each other, as the work they queue for devices does.

    Args:
        delay: after how many calls a number is acted on.
    """

    def __init__(self, delay: int) -> None:
        self.delay = delay
        self.asked: deque[tuple[distributed.Work, Tensor]] = deque()

    def largest(self, number: int) -> int:
        """Returns the largest number of all processes, of `delay` calls before (0 for the first ones).

        Every process must call it as often as the others. Alone it is the number itself.

        Raises:
            RuntimeError: another process has ended.
        """
        if not joined():
            return number
        mine = torch.tensor([number])
        work = distributed.all_reduce(mine, distributed.ReduceOp.MAX, group=control(), async_op=True)
        assert work is not None
        self.asked.append((work, mine))
        return 0 if len(self.asked) <= self.delay else self._oldest()

    def last(self) -> int:
        """Returns the largest of the numbers that have not been returned yet; every process must call it."""
        return max([self._oldest() for _ in range(len(self.asked))], default=0)

    def _oldest(self) -> int:
        work, numbers = self.asked.popleft()
        work.wait()
        return int(numbers)
