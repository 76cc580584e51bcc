"""A NaN is kept out of the weights by a flag on the device, where the host looks only every few steps."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from maekit.base.checkpoint_card import read_card
from maekit.errors import Interrupted
from maekit.optim.lars import LARS
from maekit.training.module import TransferModule
from maekit.training.nan_guard import NotFiniteError
from maekit.training.step_guard import StepGuard
from tests.helpers_run import At, OneBadImage, same_weights, tiny

RUN = "imagenet_finetune/smoke/0"
LONG: dict[str, Any] = {"trainer__max_epochs": 3, "trainer__val_check_interval": 15}


@pytest.fixture
def looks_every_ten_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator."""
    monkeypatch.setattr(TransferModule, "may_wait", lambda self: self.trainer.global_step % 10 == 0)


def infinite_gradient(trainer: Any, module: Any) -> None:
    next(module.model.head.parameters()).grad[...] = float("inf")


@pytest.mark.usefixtures("looks_every_ten_steps")
def test_a_fault_that_is_seen_later_leaves_the_weights_of_its_step(tmp_path: Path) -> None:
    paused = tiny(tmp_path / "whole", **LONG, run__stop_at_step=3)
    paused.fit()
    bad = tiny(tmp_path / "bad", **LONG)
    with pytest.raises(NotFiniteError, match=r"gradient of model\.head\S* is not finite at step 3; nothing was saved"):
        bad.fit(callbacks=[At(3, infinite_gradient, "gradient")])
    for (name, one), other in zip(paused.model.named_parameters(), bad.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not list((tmp_path / "bad").rglob("*.ckpt"))


@pytest.mark.usefixtures("looks_every_ten_steps")
@pytest.mark.parametrize(
    "options",
    [
        {"trainer__val_check_interval": 5},
        {"trainer__check_val_every_n_epoch": 9, "trainer__val_check_interval": 1.0},
        {"trainer__max_steps": 5},
    ],
)
def test_nothing_is_measured_or_saved_before_a_look(options: dict[str, Any], tmp_path: Path) -> None:
    """Step 5 ends an epoch, is validated, or ends the run."""
    session = tiny(tmp_path, **LONG | options)
    with pytest.raises(NotFiniteError, match="is not finite at step 3; nothing was saved"):
        session.fit(callbacks=[At(3, infinite_gradient, "gradient")])
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not (tmp_path / RUN / "val.csv").exists()


@pytest.mark.usefixtures("looks_every_ten_steps")
def test_a_bad_image_is_found_by_loading_its_device_batch_again(tmp_path: Path) -> None:
    session = tiny(tmp_path, **LONG, data__device_batch_size=4)
    images = session.data.train_dataset(0)
    session.data.train_dataset = lambda seed: OneBadImage(images, 7, float("nan"))  # type: ignore[method-assign]
    draw, nans = session.model.drawn, []

    def noted(batch: Any) -> Any:
        nans.append(bool(batch.image.isnan().any()))
        return draw(batch)

    session.model.drawn = noted  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError) as caught:
        session.fit()
    caught.match(rf"loss is nan at step {nans.index(True) // 4}, begun in the images of this batch; ")


def test_a_device_batch_that_is_loaded_again_is_as_the_step_had_it(tmp_path: Path) -> None:
    """With what was drawn at random, in any device batch of any epoch."""
    session = tiny(tmp_path, **LONG, data__device_batch_size=4, model__mixup=0.8, model__cutmix=1.0)
    draw, drawn = session.model.drawn, []
    again: list[tuple[Any, Any]] = []

    def noted(batch: Any) -> Any:
        drawn.append(draw(batch))
        return drawn[-1]

    session.model.drawn = noted  # type: ignore[method-assign]

    def repeat(trainer: Any, module: Any) -> None:
        first = list(drawn)
        again.extend(zip(first, [module.drawn_again(*divmod(place, 4))[0] for place in range(len(first))], strict=True))

    session.fit(callbacks=[At(8, repeat)])
    assert len(again) == 32
    for one, other in again:
        assert torch.equal(one.image, other.image) and torch.equal(one.target, other.target)


@pytest.mark.usefixtures("looks_every_ten_steps")
def test_a_run_that_is_stopped_before_the_look_saves_nothing_of_it(tmp_path: Path) -> None:
    def interrupt(trainer: Any, module: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    whole = tiny(tmp_path / "whole", **LONG, run__save_every_minutes=0, run__stop_at_step=2)
    whole.fit()
    faults = [At(2, infinite_gradient, "gradient"), At(4, interrupt, "step")]
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 4"):
        tiny(tmp_path / "bad", **LONG, run__save_every_minutes=9).fit(callbacks=faults)
    assert not list((tmp_path / "bad").rglob("last.ckpt"))
    with pytest.raises(NotFiniteError, match="keeps the state of step 2"):
        faults = [At(2, infinite_gradient, "gradient")]
        tiny(tmp_path / "timed", **LONG, run__save_every_minutes=0).fit(callbacks=faults)
    assert read_card(tmp_path / "timed" / RUN / "last.ckpt").step == 2
    same_weights(tmp_path / "timed" / RUN / "last.ckpt", tmp_path / "whole" / RUN / "last.ckpt")


def optimizers(parameters: list[nn.Parameter]) -> list[Optimizer]:
    return [
        AdamW(parameters[:2], lr=0.1, weight_decay=0.1, fused=True),
        LARS(parameters[2:], lr=0.1, weight_decay=0.1, momentum=0.9, trust_coefficient=0.01),
    ]


def state_of(optimizer: Optimizer) -> list[Tensor]:
    tensors = [tensor for state in optimizer.state.values() for tensor in state.values()]
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]] + [
        tensor.clone() for tensor in tensors
    ]


@pytest.mark.parametrize("kind", [0, 1])
def test_an_optimizer_with_the_flag_up_changes_nothing_and_with_it_down_takes_its_step(kind: int) -> None:
    made: list[Optimizer] = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        parameters = [nn.Parameter(torch.randn(5, 3, generator=generator)) for _ in range(4)]
        made.append(optimizers(parameters)[kind])
    plain, flagged = made
    for bad in (False, False, True, True):
        for optimizer in made:
            generator = torch.Generator().manual_seed(1)
            for p in optimizer.param_groups[0]["params"]:
                p.grad = torch.randn(p.shape, generator=generator) * (float("nan") if bad else 1)
        before = state_of(flagged)
        flagged.found_inf = torch.tensor(float(bad))  # type: ignore[attr-defined]
        flagged.step()
        if bad:
            assert all(torch.equal(one, other) for one, other in zip(before, state_of(flagged), strict=True))
        else:
            plain.step()
            assert all(torch.equal(*pair) for pair in zip(state_of(plain), state_of(flagged), strict=True))


def test_the_guard_keeps_the_first_fault_and_makes_later_losses_nan() -> None:
    guard = StepGuard(torch.device("cpu"))
    fine = torch.tensor(2.0, requires_grad=True)
    assert float(guard.guarded(fine, 0, 0).detach()) == 2.0
    norms = torch.tensor([1.0, float("nan"), float("inf")])
    assert guard.look() is None and float(guard.found_inf()) == 0
    guard.see_gradients(norms, torch.linalg.vector_norm(norms), 5)
    found = guard.look()
    assert found is not None and (found.step, found.gradient) == (5, 1)
    later = guard.guarded(fine, 6, 0)
    later.backward()  # type: ignore[no-untyped-call]
    assert fine.grad is not None and bool(later.isnan()) and bool(fine.grad.isnan())
    guard.guarded(torch.tensor(float("inf")), 7, 1)
    assert guard.look() == found and float(guard.found_inf()) == 1


def test_finite_gradients_whose_squares_overflow_are_a_fault_of_the_largest() -> None:
    guard = StepGuard(torch.device("cpu"))
    norms = torch.tensor([1.0, 3e38, 2e38])
    guard.see_gradients(norms, torch.linalg.vector_norm(norms), 1)
    found = guard.look()
    assert found is not None and found.gradient == 1
