"""Random number generators of Python, NumPy and torch."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

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


def generator_states(device: torch.device) -> dict[str, Any]:
    """Returns the states of Python's, NumPy's and torch's generators, and of a CUDA device's, as plain values."""
    _, words, at, cached, normal = cast("tuple[str, Any, int, int, float]", np.random.get_state())
    version, python, gauss = random.getstate()
    return {
        "python": [version, list(python), gauss],
        "numpy": [torch.from_numpy(words.astype(np.int64)), at, cached, normal],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_generator_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Sets the generators to states of `generator_states`; a CUDA device's only on a CUDA device."""
    version, python, gauss = states["python"]
    random.setstate((version, tuple(python), gauss))
    words, at, cached, normal = states["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), at, cached, normal))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
