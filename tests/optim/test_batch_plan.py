import math
import re

import pytest

from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan, describe, scaled_lr, solve_batch


def _refusal(total: int, device_batch: int | None, world: int, even: bool) -> str:
    with pytest.raises(UserError) as caught:
        solve_batch(total, device_batch, world, even=even)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("world", [1, 2, 8])
@pytest.mark.parametrize("even", [False, True])
def test_every_plan_is_exactly_the_total_and_every_refusal_has_no_plan(world: int, even: bool) -> None:
    solved = 0
    for total in range(1, 97):
        for device_batch in (None, *range(1, 33)):
            size = min(device_batch or total, total / world)
            possible = total % world == 0 and (total // world) % size == 0 and not (even and size % 2)
            if not possible:
                _refusal(total, device_batch, world, even)
                continue
            plan = solve_batch(total, device_batch, world, even=even)
            assert plan == BatchPlan(total, world, int(size), total // world // int(size))
            assert plan.devices * plan.device_batch * plan.accumulation == total
            solved += 1
    assert solved > 50


@pytest.mark.parametrize(
    ("total", "device_batch", "world", "plan"),
    [
        (1024, 32, 32, (32, 32, 1)),  # the published fine-tuning of ViT-B and ViT-L: 4 nodes x 8 GPUs x 32
        (1024, 16, 64, (64, 16, 1)),  # ViT-H: 8 nodes x 8 GPUs x 16
        (1024, 16, 8, (8, 16, 8)),
        (1024, None, 8, (8, 128, 1)),
        (1024, 4096, 2, (2, 512, 1)),
        (1024, 32, 1, (1, 32, 32)),
    ],
)
def test_known_plans(total: int, device_batch: int | None, world: int, plan: tuple[int, int, int]) -> None:
    assert solve_batch(total, device_batch, world, even=True) == BatchPlan(total, *plan)


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize(("total", "device_batch", "world"), [(1024, 32, 3), (1000, 32, 8), (100, 3, 1), (36, 5, 6)])
def test_a_refusal_lists_only_choices_that_work(total: int, device_batch: int, world: int, even: bool) -> None:
    message = _refusal(total, device_batch, world, even)
    choices = {
        flag: [int(number) for number in re.findall(r"\d+", numbers)]
        for flag, numbers in re.findall(r"--\w+\.(\w+) ((?:\d+(?:, | or )?)+)", message)
    }
    assert choices
    for flag, numbers in choices.items():
        for number in numbers:
            asked = {"total_batch_size": total, "device_batch_size": None, "devices": world} | {flag: number}
            plan = solve_batch(asked["total_batch_size"], asked["device_batch_size"], asked["devices"], even=even)
            assert plan.devices * plan.device_batch * plan.accumulation == asked["total_batch_size"]


def test_refusals_put_the_nearest_choice_first() -> None:
    assert "device_batch_size 32, 16, 64 or 8" in _refusal(1024, 40, 8, False)
    assert "total_batch_size 1023 or 1026 or --trainer.devices 2, 4, 1 or 8" in _refusal(1024, 32, 3, False)
    assert "even divisor of 100" in _refusal(100, 25, 1, True)


@pytest.mark.parametrize(("total", "device_batch", "world"), [(0, None, 1), (8, 0, 1), (8, None, 0), (-8, None, 1)])
def test_numbers_below_one_are_refused(total: int, device_batch: int | None, world: int) -> None:
    assert "expected 1 or more" in _refusal(total, device_batch, world, False)


def test_scaled_lr_is_the_published_one() -> None:
    assert math.isclose(scaled_lr(1e-3, None, 1024), 4e-3)  # FB fine-tuning of ViT-L and ViT-H
    assert math.isclose(scaled_lr(5e-4, None, 1024), 2e-3)  # ViT-B
    assert scaled_lr(None, 1e-4, 16) == 1e-4  # absolute: the total does not enter


@pytest.mark.parametrize("rates", [(None, None), (1e-3, 1e-4)])
def test_exactly_one_rate_is_given(rates: tuple[float | None, float | None]) -> None:
    with pytest.raises(UserError, match="expected exactly one"):
        scaled_lr(*rates, 1024)


def test_description() -> None:
    plan = BatchPlan(1024, 8, 32, 4)
    split = "1024 = 8 devices x 32 images x 4 accumulated"
    assert describe(plan, base_lr=1e-3, lr=4e-3) == f"{split}, lr 4.0e-03 = 1.0e-03 x 1024 / 256"
    assert describe(plan, base_lr=None, lr=1e-4) == f"{split}, lr 1.0e-04 as given"


@pytest.mark.parametrize(
    ("total", "device_batch", "world", "mend"),
    [(8, 1, 2, "--data.device_batch_size 2 or 4"), (2, None, 2, "--data.total_batch_size 4, or fewer")],
)
def test_a_device_batch_below_what_batch_norm_can_measure_is_refused(
    total: int, device_batch: int | None, world: int, mend: str
) -> None:
    assert solve_batch(total, device_batch, world).device_batch == 1
    with pytest.raises(UserError, match=rf"got device batch 1, expected 2 or more.*{mend}"):
        solve_batch(total, device_batch, world, least=2)
