import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, MultiStepLR, PolynomialLR

from maekit.errors import UserError
from maekit.optim.schedules import Kind, Schedule, make_schedule

PEAK = 4e-3
GROUPS = [{"peak_lr": PEAK * scale, "lr_scale": scale} for scale in (1.0, 0.75**12, 0.75**33)]


def _rates(schedule: Schedule, group: dict[str, float], steps: int) -> torch.Tensor:
    return torch.tensor([group["peak_lr"] * schedule(step, group) for step in range(steps)], dtype=torch.float64)


def _factor(schedule: Schedule, group: dict[str, float], step: int) -> float:
    return schedule(step, group)


def _steps(make: Callable[[SGD], torch.optim.lr_scheduler.LRScheduler], lr: float, steps: int) -> torch.Tensor:
    """The rate a scheduler of torch sets for each of the steps."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


@pytest.mark.parametrize("group", GROUPS)
def test_cosine_is_that_of_the_released_fine_tuning(group: dict[str, float]) -> None:
    epochs, warmup_epochs, min_lr, steps_per_epoch = 50, 5, 1e-6, 13
    published = []
    for iteration in range(epochs * steps_per_epoch):  # in fractional epochs, then times the group's scale
        epoch = iteration / steps_per_epoch
        if epoch < warmup_epochs:
            lr = PEAK * epoch / warmup_epochs
        else:
            done = (epoch - warmup_epochs) / (epochs - warmup_epochs)
            lr = min_lr + (PEAK - min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))
        published.append(lr * group["lr_scale"])
    schedule = make_schedule(
        "cosine",
        total_steps=epochs * steps_per_epoch,
        warmup_steps=warmup_epochs * steps_per_epoch,
        min_lr=min_lr,
        min_lr_scaled=True,
    )
    expected = torch.tensor(published, dtype=torch.float64)
    torch.testing.assert_close(_rates(schedule, group, len(expected)), expected, rtol=1e-12, atol=0)
    assert math.isclose(group["peak_lr"] * schedule(10**9, group), min_lr * group["lr_scale"], rel_tol=1e-9)


@pytest.mark.parametrize("group", GROUPS)
def test_absolute_floor_is_that_of_torch_and_lifts_the_smallest_rates(group: dict[str, float]) -> None:
    schedule = make_schedule("cosine", total_steps=200, warmup_steps=0, min_lr=1e-6)
    expected = _steps(lambda o: CosineAnnealingLR(o, 200, eta_min=1e-6), group["peak_lr"], 200)
    rates = _rates(schedule, group, 200)
    torch.testing.assert_close(rates, expected, rtol=1e-9, atol=0)
    assert (rates[-1] > rates[0]) == (group["peak_lr"] < 1e-6)


def test_poly_from_step_0_has_the_rates_of_a_published_log() -> None:
    """The log of github implus/mae_segmentation: group 0 is layer 0 of ViT-B, counted from iteration 1."""
    schedule = make_schedule("poly", total_steps=160_000, warmup_steps=1500, warmup_start=1e-6, power=1.0)
    group = {"peak_lr": 1e-4 * 0.65**13, "lr_scale": 0.65**13}
    logged = {iteration: group["peak_lr"] * schedule(iteration - 1, group) for iteration in (50, 158_650)}
    assert f"{logged[50]:.3e}" == "1.207e-08"
    assert f"{logged[158_650]:.3e}" == "3.122e-09"


@pytest.mark.parametrize("power", [1.0, 0.9, 2.0])
def test_poly_after_warmup_is_torchs_shifted_by_the_warmup(power: float) -> None:
    schedule = make_schedule("poly", total_steps=120, warmup_steps=20, power=power, poly_after_warmup=True)
    rates = _rates(schedule, GROUPS[1], 120)
    peak = GROUPS[1]["peak_lr"]
    torch.testing.assert_close(rates[:20], peak * torch.arange(20, dtype=torch.float64) / 20, rtol=1e-12, atol=0)
    torch.testing.assert_close(rates[20:], _steps(lambda o: PolynomialLR(o, 100, power), peak, 100), rtol=1e-9, atol=0)


def test_poly_from_step_0_is_the_warmup_times_torchs() -> None:
    schedule = make_schedule("poly", total_steps=120, warmup_steps=20, warmup_start=0.1, power=0.9)
    ramp = torch.cat([torch.linspace(0.1, 1.0, 21, dtype=torch.float64)[:20], torch.ones(100, dtype=torch.float64)])
    expected = ramp * _steps(lambda o: PolynomialLR(o, 120, 0.9), PEAK, 120)
    torch.testing.assert_close(_rates(schedule, GROUPS[0], 120), expected, rtol=1e-9, atol=0)


def test_multistep_is_torchs_after_the_warmup() -> None:
    schedule = make_schedule(
        "multistep", total_steps=100, warmup_steps=10, warmup_start=0.001, milestones=(60, 90), gamma=0.1
    )
    expected = _steps(lambda o: MultiStepLR(o, [60, 90], 0.1), PEAK, 100)
    expected[:10] *= torch.linspace(0.001, 1.0, 11, dtype=torch.float64)[:10]
    torch.testing.assert_close(_rates(schedule, GROUPS[0], 100), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["cosine", "poly", "multistep"])
def test_lambda_lr_sets_each_groups_own_rate(kind: Kind) -> None:
    schedule = make_schedule(
        kind, total_steps=30, warmup_steps=4, min_lr=1e-6, min_lr_scaled=True, power=0.9, milestones=(10, 20)
    )
    optimizer = SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": g["peak_lr"], **g} for g in GROUPS], lr=1.0)
    scheduler = LambdaLR(optimizer, [partial(_factor, schedule, group) for group in optimizer.param_groups])
    for step in range(30):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == [group["peak_lr"] * schedule(step, group) for group in GROUPS]
        assert rates[1] == pytest.approx(rates[0] * 0.75**12)  # a scaled floor keeps layer decay at every step
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("kind", ["cosine", "poly", "multistep"])
@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (0, 5), (3, 5), (5, 5), (1, 0)])
def test_short_runs_stay_within_the_peak(kind: Kind, total: int, warmup: int) -> None:
    schedule = make_schedule(kind, total_steps=total, warmup_steps=warmup, min_lr=1e-6, milestones=(1,))
    factors = [schedule(step, GROUPS[0]) for step in range(total + 4)]
    assert all(0.0 <= factor <= 1.0 for factor in factors)
    if kind == "cosine" and total <= warmup:  # a run that ends in its warmup only rises
        assert factors[:total] == pytest.approx([step / warmup for step in range(total)])
    assert len(set(factors[total:])) == 1  # the end is held


@pytest.mark.parametrize(("total", "warmup"), [(-1, 0), (9, -1)])
def test_negative_steps_are_refused(total: int, warmup: int) -> None:
    with pytest.raises(UserError, match=r"got -1 (total|warmup) steps"):
        make_schedule("cosine", total_steps=total, warmup_steps=warmup)
