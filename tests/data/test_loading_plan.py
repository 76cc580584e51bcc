"""Workers and prefetching: from what a sample costs, the cores and the memory; measuring changes nothing."""

import random

import numpy as np
import pytest
import torch

from maekit.base.data import DrawDataset, seeded
from maekit.base.spec import Draw
from maekit.data.images.batch import Sample
from maekit.data.loading_plan import Cost, choose_loading, measure, num_bytes, plan_loading, room
from maekit.errors import UserError

MIB = 2**20


class Noise(DrawDataset):
    """Draws in a sample, and counts how many were loaded."""

    loaded = 0

    def __len__(self) -> int:
        return 100

    def __getitem__(self, draw: Draw) -> Sample:
        self.loaded += 1
        with seeded(0, draw.epoch, draw.index):
            return torch.rand(3, 8, 8), 0, draw.index


def numpy_state() -> str:
    return repr(np.random.get_state(legacy=False))


class Unreadable(Noise):
    def __getitem__(self, draw: Draw) -> Sample:
        raise UserError("bad.jpg: cannot be read")


class Cached(Noise):
    reads_files = False


def test_measuring_loads_a_few_samples_and_leaves_the_generators_alone() -> None:
    images = Noise()
    before = random.getstate(), numpy_state(), torch.get_rng_state()
    cost = measure(images)
    assert cost is not None
    assert (cost.seconds > 0, cost.bytes, images.loaded) == (True, 3 * 8 * 8 * 4, 6)
    assert random.getstate() == before[0]
    assert numpy_state() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_given_number_is_kept_and_only_the_batches_ahead_follow_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Noise()
    loading = plan_loading(3, images, 8, 1, "cpu")
    assert (loading.workers, loading.ahead, loading.why, images.loaded) == (3, 4, "", 1)
    batches = 3 * 8 * 768
    for memory, ahead in ((4 * batches, 4), (4 * batches - 1, 3), (0, 2)):
        monkeypatch.setattr("maekit.data.loading_plan.room", lambda world, memory=memory: memory)
        assert plan_loading(3, images, 8, 1, "cpu")[:2] == (3, ahead)


def test_nothing_is_measured_where_there_is_nothing_to_choose() -> None:
    images = Noise()
    assert plan_loading(0, images, 8, 1, "cpu").workers == images.loaded == 0
    assert measure(Cached()) is None
    assert measure(Unreadable()) is None
    assert plan_loading(None, Unreadable(), 8, 1, "cpu").workers >= 1


@pytest.mark.parametrize(
    ("milliseconds", "cores", "wanted", "workers"),
    [
        (0.01, 8, 4000, 0),  # sooner loaded than passed on
        (0.3, 8, 1000, 1),  # digits on a CPU
        (0.3, 8, 4000, 2),
        (4.0, 8, 4000, 7),  # ImageNet's photographs: all cores but one
        (4.0, 2, 1000, 1),
        (4.0, 1, 1000, 1),
        (50.0, 96, 4000, 16),
    ],
)
def test_workers_follow_the_cost_of_a_sample(milliseconds: float, cores: int, wanted: int, workers: int) -> None:
    loading = choose_loading(Cost(milliseconds / 1000, 600_000), cores, 32, 64 * 1024 * MIB, wanted)
    assert loading.workers == workers
    assert loading.ahead == (4 if workers else 2)


@pytest.mark.parametrize(
    ("memory", "workers", "ahead"),
    [(10_000, 7, 4), (2_100, 7, 3), (1_400, 7, 2), (1_000, 5, 2), (250, 1, 2), (64, 0, 2)],
)
def test_batches_fit_into_memory(memory: int, workers: int, ahead: int) -> None:
    """Batches of 100 MiB; Docker's /dev/shm of 64 MiB takes none of them."""
    loading = choose_loading(Cost(0.1, 12_800 * 1024), 8, 8, memory * MIB, 4000)
    assert (loading.workers, loading.ahead) == (workers, ahead)
    assert loading.workers * loading.ahead * 100 <= memory
    assert ("MiB" in loading.why) == (workers < 7)


def test_bytes_of_a_sample() -> None:
    tensor, array = torch.zeros(4, dtype=torch.int16), np.zeros(3)
    assert num_bytes((tensor, {"a": [array, "text", 7]}, None)) == 8 + 24


def test_processes_share_the_room() -> None:
    assert 0 < room(4) <= room(1)


def test_the_data_line() -> None:
    loading = choose_loading(Cost(0.005, 600_000), 3, 32, 64 * 1024 * MIB, 4000)
    assert loading.describe(pin=True) == "2 workers (200 images/s each measured, 3 cores), 4 batches ahead each, pinned"
    assert plan_loading(1, Noise(), 32, 1, "cpu").describe(pin=False) == "1 worker, 4 batches ahead"
    assert plan_loading(0, Noise(), 32, 1, "cpu").describe(pin=False) == "0 workers, loading in the training process"
