"""Samplers: the union over ranks is the same for any division of the work, and each image counts once."""

import itertools

import numpy as np
import pytest

from maekit.base.spec import Draw
from maekit.data.sampler import REPEATED, EvalSampler, TrainSampler

SIZES = (24, 25, 47, 48, 100)
DIVISIONS = [(world, accumulated) for world in (1, 2, 3, 4, 6, 8, 12, 24) for accumulated in (1, 2, 3, 4, 6, 8)]
DIVISIONS = [(w, a) for w, a in DIVISIONS if 24 % (w * a) == 0]


def draws(num_samples: int, world: int, rank: int, device_batch: int, epoch: int = 3, seed: int = 5) -> list[Draw]:
    sampler = TrainSampler(
        num_samples, total_batch=24, device_batch=device_batch, rank=rank, world=world, seed=seed, resume_epoch=0
    )
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("num_samples", SIZES)
@pytest.mark.parametrize(("world", "accumulated"), DIVISIONS)
def test_each_step_sees_the_same_samples_for_any_division(num_samples: int, world: int, accumulated: int) -> None:
    whole = [draw.index for draw in draws(num_samples, 1, 0, 24)]
    device_batch = 24 // (world * accumulated)
    ranks = [[draw.index for draw in draws(num_samples, world, rank, device_batch)] for rank in range(world)]
    of_step = device_batch * accumulated
    for step in range(num_samples // 24):
        union = [index for rank in ranks for index in rank[step * of_step : (step + 1) * of_step]]
        assert sorted(union) == sorted(whole[step * 24 : (step + 1) * 24])
    assert sum(map(len, ranks)) == num_samples // 24 * 24


def test_an_epoch_is_a_permutation_cut_to_whole_total_batches() -> None:
    whole = [draw.index for draw in draws(48, 1, 0, 24)]
    assert sorted(whole) == list(range(48))
    cut = [draw.index for draw in draws(47, 1, 0, 24)]
    assert len(cut) == len(set(cut)) == 24
    assert set(cut) <= set(range(47))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    orders = {
        (epoch, seed): tuple(d.index for d in draws(48, 1, 0, 24, epoch, seed))
        for epoch, seed in itertools.product((0, 1, 2), (0, 1, 2))
    }
    assert len(set(orders.values())) == 9
    assert tuple(d.index for d in draws(48, 1, 0, 24, 2, 1)) == orders[2, 1]
    assert {d.epoch for d in draws(48, 1, 0, 24, epoch=7)} == {7}


@pytest.mark.parametrize("skip", [0, 1, 5, 8])
@pytest.mark.parametrize("rank", [0, 1])
def test_resuming_skips_micro_batches_of_that_epoch_only(skip: int, rank: int) -> None:
    def sampler(epoch: int, skip_batches: int) -> TrainSampler:
        return TrainSampler(
            50,
            total_batch=24,
            device_batch=3,
            rank=rank,
            world=2,
            seed=1,
            resume_epoch=epoch,
            skip_batches=skip_batches,
        )

    whole, resumed = sampler(0, 0), sampler(2, skip)
    whole.set_epoch(2)
    assert list(resumed) == list(whole)[skip * 3 :]
    assert len(resumed) == len(whole) == 24
    for epoch in (3, 4):
        whole.set_epoch(epoch)
        resumed.set_epoch(epoch)
        assert list(resumed) == list(whole)


def test_a_division_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        TrainSampler(100, total_batch=24, device_batch=5, rank=0, world=2, seed=0)
    with pytest.raises(ValueError, match="do not fill"):
        TrainSampler(23, total_batch=24, device_batch=12, rank=0, world=2, seed=0)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 7, 16, 17, 100])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 8, 16, 101])
def test_evaluation_takes_each_image_once_and_as_many_draws_a_rank(num_samples: int, world: int) -> None:
    samplers = [EvalSampler(num_samples, rank, world) for rank in range(world)]
    lists = [[draw.index for draw in sampler] for sampler in samplers]
    assert {len(own) for own in lists} == {len(samplers[0])}
    indices = [index for own in lists for index in own]
    assert sorted(index for index in indices if index >= 0) == list(range(num_samples))
    assert indices.count(-1) == len(indices) - num_samples < world


WEIGHTS = np.array([10.0] * 5 + [1.0] * 45)


def weighted(world: int, rank: int, device_batch: int, *, epoch: int = 3, skip: int = 0) -> list[Draw]:
    sampler = TrainSampler(
        50, total_batch=24, device_batch=device_batch, rank=rank, world=world, seed=5, resume_epoch=epoch,
        skip_batches=skip, weights=WEIGHTS,
    )  # fmt: skip
    return list(sampler)


@pytest.mark.parametrize(("world", "accumulated"), [(1, 2), (2, 1), (2, 3), (4, 1)])
def test_weighted_steps_are_the_same_for_any_division(world: int, accumulated: int) -> None:
    whole = weighted(1, 0, 24)
    device_batch = 24 // (world * accumulated)
    ranks = [weighted(world, rank, device_batch) for rank in range(world)]
    of_step = device_batch * accumulated
    for step in range(2):
        union = [draw for rank in ranks for draw in rank[step * of_step : (step + 1) * of_step]]
        assert sorted(union) == sorted(whole[step * 24 : (step + 1) * 24])
    assert weighted(world, 0, device_batch, skip=2) == ranks[0][2 * device_batch :]


def test_samples_are_drawn_by_their_weights_and_a_repetition_is_another_draw() -> None:
    all_draws = [draw for epoch in range(200) for draw in weighted(1, 0, 24, epoch=epoch)]
    counts = np.bincount([draw.index for draw in all_draws], minlength=50) / len(all_draws)
    np.testing.assert_allclose(counts[:5].sum(), 50 / 95, atol=0.02)
    np.testing.assert_allclose(counts, WEIGHTS / WEIGHTS.sum(), atol=0.02)
    assert len(set(all_draws)) == len(all_draws), "each draw is augmented otherwise"
    assert {draw.epoch % REPEATED for draw in all_draws} == set(range(200))
