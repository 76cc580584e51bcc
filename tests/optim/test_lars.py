"""LARS against an implementation in NumPy from the formulas, and against timm's where the two are defined alike."""

import copy

import numpy as np
import pytest
import torch
from timm.optim.lars import Lars
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.optim.groups import parameter_groups
from maekit.optim.lars import LARS
from maekit.optim.resume import restore_order
from maekit.optim.settings import Optimisation
from tests.numeric import assert_float64

pytestmark = pytest.mark.numeric

SHAPES = [(7, 5), (5,), (3, 2, 4), (), (1, 6)]


def by_hand(
    weight: np.ndarray, gradients: list[np.ndarray], rates: list[float], decay: float, momentum: float, trust: float
) -> np.ndarray:
    velocity = np.zeros_like(weight)
    for gradient, rate in zip(gradients, rates, strict=True):
        update = gradient
        if weight.ndim > 1:
            update = gradient + decay * weight
            norm, size = np.sqrt((weight**2).sum()), np.sqrt((update**2).sum())
            update = update * (trust * norm / size if norm > 0 and size > 0 else 1.0)
        velocity = momentum * velocity + update
        weight = weight - rate * velocity
    return weight


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_equal_the_formulas(shape: tuple[int, ...], decay: float) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape)
    gradients = [rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3) for _ in range(40)]
    rates = [6.4 * (step + 1) / 40 for step in range(40)]
    weight = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = LARS([weight], weight_decay=decay, momentum=0.9, trust_coefficient=0.001)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    expected = by_hand(start, gradients, rates, decay, 0.9, 0.001)
    assert np.abs(expected - start).max() > 1e-3
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_matrices_without_decay_move_as_timms() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(9, 4))
    theirs = nn.Parameter(ours.detach().clone())
    one = LARS([ours], lr=6.4, momentum=0.9, trust_coefficient=0.001)
    other = Lars([theirs], lr=6.4, momentum=0.9, trust_coeff=0.001, always_adapt=True, eps=0.0)
    for _ in range(30):
        gradient = torch.randn(9, 4)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()  # type: ignore[no-untyped-call]
    assert_float64(ours, theirs)


@pytest.mark.parametrize(("weight", "gradient"), [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)])
def test_a_zero_norm_leaves_the_gradient_as_it_is(weight: float, gradient: float) -> None:
    tensor = nn.Parameter(torch.full((2, 2), weight))
    tensor.grad = torch.full((2, 2), gradient)
    LARS([tensor], lr=0.5, momentum=0.0, trust_coefficient=0.001).step()
    torch.testing.assert_close(tensor.data, torch.full((2, 2), weight - 0.5 * gradient), rtol=0, atol=0)


def test_a_parameter_without_gradient_stays_and_the_closure_is_called() -> None:
    moved, still = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = LARS([moved, still], lr=1.0, momentum=0.9, trust_coefficient=0.001)

    def closure() -> Tensor:
        loss = (3 * moved).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    assert optimizer.step(closure) == 6.0
    assert torch.equal(moved.data, torch.full((2,), -2.0))
    assert torch.equal(still.data, torch.ones(2))
    assert still not in optimizer.state


def numbers(**changed: object) -> dict[str, object]:
    probe: dict[str, object] = {
        "base_lr": 0.1,
        "lr": None,
        "layer_decay": 1.0,
        "weight_decay": 0.0,
        "no_weight_decay": ["1d"],
        "schedule": "cosine",
        "min_lr": 0.0,
        "min_lr_scaled": True,
        "warmup_epochs": 10.0,
        "optimizer": "lars",
        "momentum": 0.9,
        "trust_coefficient": 0.001,
    }
    return {**probe, **changed}


def test_the_published_rate() -> None:
    assert Optimisation(**numbers()).peak_lr(16384) == pytest.approx(6.4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"momentum": None}, r"got None, expected optim.momentum in \[0, 1\) for lars"),
        ({"momentum": None, "optimizer": "sgd"}, r"got None, expected optim.momentum in \[0, 1\) for sgd"),
        ({"trust_coefficient": 0.0}, "optim.trust_coefficient: got 0.0, expected above 0"),
        ({"optimizer": "adamw"}, r"got None, expected two optim.betas in \[0, 1\)"),
    ],
)
def test_an_optimizer_without_its_numbers_is_refused(changed: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        Optimisation(**numbers(**changed))  # type: ignore[arg-type]


def test_a_saved_state_goes_on_as_if_never_saved() -> None:
    """Through the matching by names that every resumed run goes through."""
    from maekit.backbone.sizes import Size
    from maekit.backbone.vit import ViT

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.backbone = ViT(Size("tiny", 8, 1, 2, 4), image_size=(8, 8)).requires_grad_(False)
            self.head = nn.Linear(8, 3)

    def made(model: Probe) -> torch.optim.Optimizer:
        return Optimisation(**numbers()).make_optimizer(model, model.backbone, 256)  # type: ignore[arg-type]

    def steps(model: Probe, optimizer: torch.optim.Optimizer, count: int) -> None:
        for step in range(count):
            for p in model.head.parameters():
                p.grad = torch.full_like(p, 0.5 + step)
            optimizer.step()

    model = Probe()
    optimizer = made(model)
    steps(model, optimizer, 3)
    saved, twin = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model)
    resumed = made(twin)
    groups = parameter_groups(twin, Optimisation(**numbers()).rows(twin, twin.backbone, 256))  # type: ignore[arg-type]
    resumed.load_state_dict(restore_order(saved, groups))
    steps(model, optimizer, 3)
    steps(twin, resumed, 3)
    torch.testing.assert_close(twin.head.weight, model.head.weight, rtol=0, atol=0)
    torch.testing.assert_close(twin.head.bias, model.head.bias, rtol=0, atol=0)
