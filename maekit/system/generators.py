"""Random number generators of Python, NumPy and torch."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def untouched_generators() -> Iterator[None]:
    """Restores the states of Python's, NumPy's and torch's (CPU and CUDA) generators when the block ends."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_generators(*place: int) -> None:
    """Seeds Python's, NumPy's and torch's generators from numbers that name a place in a run, such as seed and step."""
    drawn = int(np.random.SeedSequence(place).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
