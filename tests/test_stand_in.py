"""The second device without hardware: what it counts, refuses and computes."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from torchvision.ops import batched_nms, roi_align

from tests.stand_in import DEVICE, MixedDevicesError, StandInTensor, stand_in, to_device, to_host

CASES: dict[str, tuple[Callable[[Tensor, Tensor], object], dict[str, int]]] = {
    "item": (lambda x, mask: x.sum().item(), {"scalar": 1}),
    "float": (lambda x, mask: float(x[0, 0]), {"scalar": 1}),
    "if": (lambda x, mask: 1 if mask.any() else 0, {"scalar": 1}),
    "format": (lambda x, mask: f"{x.sum():.3f}", {"scalar": 1}),
    "equal": (lambda x, mask: torch.equal(x, x), {"scalar": 1}),
    "slice": (lambda x, mask: x[: mask.sum()], {"scalar": 1}),
    "bincount": (lambda x, mask: torch.bincount(mask.long().flatten(), minlength=2), {"scalar": 2}),
    "nonzero": (lambda x, mask: mask.nonzero(), {"nonzero": 1}),
    "where": (lambda x, mask: torch.where(mask), {"nonzero": 1}),
    "mask": (lambda x, mask: x[mask], {"nonzero": 1}),
    "masked_select": (lambda x, mask: x.masked_select(mask), {"nonzero": 1}),
    "unique": (lambda x, mask: torch.unique(x), {"nonzero": 1}),
    "repeat": (lambda x, mask: x[0].repeat_interleave(mask[0].long()), {"nonzero": 1}),
    "repeat, known": (lambda x, mask: x.repeat_interleave(2), {}),
    "set mask to values": (lambda x, mask: x.index_put_((mask,), x[mask]), {"nonzero": 2}),
    "fill mask": (lambda x, mask: x.__setitem__(mask, 0.0), {}),
    "fill mask, value there": (lambda x, mask: x.__setitem__(mask, x.sum()), {"scalar": 1}),
    "masked_fill": (lambda x, mask: x.masked_fill(mask, 0.0), {}),
    "where of two": (lambda x, mask: torch.where(mask, x, 0.0), {}),
    "cpu": (lambda x, mask: x.cpu(), {"to_cpu": 1}),
    "tolist": (lambda x, mask: x.tolist(), {"to_cpu": 1}),
    "into a CPU tensor": (lambda x, mask: torch.zeros(3, 3).copy_(x), {"to_cpu": 1}),
    "cpu, not blocking": (lambda x, mask: x.to("cpu", non_blocking=True), {}),
    "to": (lambda x, mask: torch.ones(3).to(DEVICE), {"to_device": 1}),
    "to, not blocking": (lambda x, mask: torch.ones(3).to(DEVICE, non_blocking=True), {}),
    "tensor of a list": (lambda x, mask: x.new_tensor([1.0]), {"to_device": 1}),
    "list as index": (lambda x, mask: x[[0, 1]], {"to_device": 1}),
    "CPU index": (lambda x, mask: x[torch.tensor([0, 1])], {"to_device": 1}),
    "factories": (lambda x, mask: torch.arange(3, device=DEVICE) + torch.rand(3, device=DEVICE), {}),
    "CPU scalar": (lambda x, mask: x + torch.ones(()), {}),
}
MIXED: dict[str, Callable[[Tensor], object]] = {
    "add": lambda x: x + torch.ones(3),
    "cat": lambda x: torch.cat([x, torch.ones(1, 3)]),
    "stack": lambda x: torch.stack([x.sum(), torch.ones(())]),
    "into CPU": lambda x: torch.ones(()).add_(x.sum()),
    "matmul": lambda x: x @ torch.ones(3, 3),
    "gather": lambda x: x.gather(0, torch.zeros(1, 3, dtype=torch.long)),
    "generator": lambda x: torch.rand(3, device=DEVICE, generator=torch.Generator()),
    "nms": lambda x: batched_nms(x.repeat(1, 2)[:, :4], torch.ones(3), x[0], 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_waits_are_counted_by_kind(name: str) -> None:
    run, expected = CASES[name]
    with stand_in(lines=True) as waits:
        x = to_device(torch.arange(9.0).view(3, 3) - 4)
        mask = x > 0
        run(x, mask)
        assert dict(waits.counts) == expected
        assert all(line.startswith("tests/test_stand_in.py:") for line in waits.lines)
        assert waits.lines.total() == waits.total


@pytest.mark.parametrize("name", MIXED)
def test_mixed_devices_raise(name: str) -> None:
    with stand_in(), pytest.raises(MixedDevicesError, match="standin"):
        MIXED[name](to_device(torch.ones(3, 3)))


def small_step(to: torch.device, precision: torch.dtype | None) -> list[Tensor]:
    """Three clipped steps of fused AdamW on convolution, checkpointed attention and regions; returns the weights."""
    torch.manual_seed(0)
    net = nn.ModuleDict(
        {"conv": nn.Conv2d(3, 4, 3, bias=False), "norm": nn.BatchNorm2d(4), "last": nn.Linear(16, 5)}
    ).to(to)
    images, label = torch.randn(2, 3, 8, 8).to(to), torch.tensor([1, 2]).to(to)
    boxes = [torch.tensor([[0.0, 0.0, 4.0, 5.0]]).to(to)] * 2
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)

    def attend(x: Tensor) -> Tensor:
        q = x.flatten(2).mT.unsqueeze(1)
        return nn.functional.dropout(scaled_dot_product_attention(q, q, q), 0.1)

    for _ in range(3):
        with torch.autocast(to.type, precision or torch.bfloat16, enabled=precision is not None):
            x = net["norm"](net["conv"](images)).relu()
            x = roi_align(x.float(), boxes, 2).flatten(1) + checkpoint(attend, x, use_reentrant=False).mean()
            loss = cross_entropy(net["last"](x), label)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
    return [p.detach() for p in net.parameters()]


def test_a_step_gives_the_cpus_numbers_without_waiting() -> None:
    expected = small_step(torch.device("cpu"), None)
    with stand_in(lines=True) as waits:
        weights = small_step(DEVICE, None)
        assert waits.counts.keys() <= {"to_device"}, waits.lines
        for got, wanted in zip(to_host(weights), expected, strict=True):
            torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_of_the_device(precision: torch.dtype) -> None:
    expected = small_step(torch.device("cpu"), None)
    with stand_in():
        x = to_device(torch.randn(3, 3))
        with torch.autocast(DEVICE.type, precision):
            assert (x @ x).dtype == precision
            assert x.softmax(0).dtype == (x @ x).softmax(0).dtype == torch.float32
            with torch.autocast(DEVICE.type, enabled=False):
                assert (x @ x).dtype == torch.float32
        for got, wanted in zip(to_host(small_step(DEVICE, precision)), expected, strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-2, rtol=1e-2)


def test_modules_are_copied_saved_and_moved() -> None:
    with stand_in():
        layer = to_device(nn.Linear(2, 2))
        assert isinstance(copy.deepcopy(layer).weight, nn.Parameter)
        assert isinstance(layer.weight, StandInTensor)
        assert layer.weight.device == DEVICE
        torch.save(layer.state_dict(), io.BytesIO())
        half = layer.half().weight
        assert isinstance(half, StandInTensor)
        assert half.dtype == half.held.dtype == torch.float16
        assert layer.float().cpu().weight.device.type == "cpu"


def test_inference_mode() -> None:
    with stand_in() as waits, torch.inference_mode():
        layer = to_device(nn.Linear(3, 3))
        x = torch.arange(6.0).view(2, 3).to(DEVICE)
        found = torch.stack([layer(x)[0].relu() * layer.weight[1], x[0]])
        assert waits.counts == {"to_device": 1}
        expected = layer.cpu()(torch.arange(3.0)).relu() * layer.weight[1]
        torch.testing.assert_close(to_host(found[0]), expected)
