"""How closely numbers must agree, on any CPU.

CPUs add in different orders (AVX2, AVX512, AMX, oneDNN's kernels), so an fp32 tolerance that was measured on one
machine fails on another. Two ways hold everywhere:

- Both sides are computed in float64 and agree to 1e-9 (`assert_float64`; the fixture `float64` makes it the default).
- One side is fp32 and stays so, for instance because it was recorded. Then the same test runs our code in float64 and,
  with inputs moved by one rounding step, several times in fp32. What those differ by is what rounding does here;
  the other side may differ from float64 by `MARGIN` times as much (`fp32_errors`, `assert_fp32`).
  Code that computes in fp32 whatever it is given is compared with itself on moved inputs (`assert_fp32_function`).
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

FLOAT64 = 1e-9
STEP = torch.finfo(torch.float32).eps
LEAST = 4 * STEP  # of a result's size: no computation is trusted to be nearer to float64 than a few roundings
MARGIN = 8.0
SEEDS = (0, 1, 2)
Results = Mapping[str, Tensor]
Model = TypeVar("Model", bound=nn.Module)


def assert_float64(found: Any, expected: Any, msg: str | None = None) -> None:
    """Both are float64 (tensors, or sequences and mappings of tensors) and equal to 1e-9 of each tensor's scale."""
    for tensor in (*_leaves(found), *_leaves(expected)):
        assert tensor.dtype == torch.float64 or not tensor.is_floating_point(), f"{msg or ''} got {tensor.dtype}"
    scale = max([1.0, *(tensor.abs().max().item() for tensor in _leaves(expected) if tensor.numel())])
    torch.testing.assert_close(found, expected, rtol=FLOAT64, atol=FLOAT64 * scale, msg=msg)


def _leaves(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    else:
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(one)


def moved(tensor: Tensor, seed: int) -> Tensor:
    """Each value times 1 +- up to one fp32 step: as another order of additions would have made it."""
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (tensor.double() * (1 + STEP * (2 * noise - 1))).to(tensor.dtype)


def fp32_errors(double: Results, singles: Iterable[Results]) -> dict[str, float]:
    """By name, the largest L2 distance of fp32 from float64; at least that of values rounded a few times.

    `singles` are computed in fp32 from inputs that were `moved`, one for each seed of `SEEDS`.
    """
    errors = {name: LEAST * value.double().norm().item() for name, value in double.items()}
    for single in singles:
        for name, value in single.items():
            errors[name] = max(errors[name], (value.double() - double[name].double()).norm().item())
    return errors


def assert_fp32(found: Tensor, double: Tensor, error: float | None = None, msg: str = "") -> None:
    """`found` lies no further from float64 (L2) than `MARGIN` times what rounding does, and its own dtype's once.

    Without an `error` of `fp32_errors` it is that of values rounded a few times.
    """
    assert found.shape == double.shape, f"{msg} got {tuple(found.shape)}, expected {tuple(double.shape)}"
    size = double.double().norm().item()
    distance = (found.double() - double.double()).norm().item()
    stored = torch.finfo(found.dtype).eps / 2 * size if found.is_floating_point() else 0.0
    allowed = MARGIN * (LEAST * size if error is None else error) + stored
    assert distance <= allowed, f"{msg} off by {distance:.3g}, {distance / allowed:.2f} times what rounding explains"


def assert_fp32_function(function: Callable[..., Tensor], inputs: Sequence[Tensor], expected: Tensor) -> None:
    """`function` computes in fp32 and gives float64's `expected`, up to `MARGIN` times what `moved` inputs change."""
    found = {"": function(*inputs)}
    others = [{"": function(*(moved(value, seed) for value in inputs))} for seed in SEEDS]
    assert_fp32(found[""], expected, fp32_errors(found, others)[""])


def assert_fp32_model(found: Tensor, model: Model, images: Tensor, run: Callable[[Model, Tensor], Tensor]) -> None:
    """`found` is what `run(model, images)` gives in float64, up to `MARGIN` times what rounding does to it in fp32."""
    with torch.no_grad():
        double = run(copy.deepcopy(model).double(), images.double())
        singles = [{"": run(model, moved(images, seed))} for seed in SEEDS]
    assert_fp32(found, double, fp32_errors({"": double}, singles)[""])


def assert_half(found: Tensor, expected: Tensor) -> None:
    """What was computed in bfloat16 lies within `MARGIN` of its rounding steps (3 percent) of `expected`, in L2."""
    distance = (found.double() - expected.double()).norm().item()
    assert distance <= MARGIN * torch.finfo(torch.bfloat16).eps * expected.double().norm().item()
