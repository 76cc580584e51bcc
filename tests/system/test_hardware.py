"""Precision `auto`: bf16 where the hardware multiplies it, fp32 where it would be converted."""

from pathlib import Path

import pytest
import torch
from torch import nn

from maekit.backbone.pos_embed import sincos_pos_embed
from maekit.system import hardware


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, "32-true"),
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ],
)
def test_a_cpu_uses_bf16_only_if_it_has_it(
    flags: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert hardware.auto_precision("cpu") == expected
    assert hardware.auto_precision("mps") == "32-true"


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", None), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16), ("64-true", None)],
)
def test_the_autocast_of_a_precision_is_that_of_lightning(precision: str, dtype: torch.dtype | None) -> None:
    with hardware.autocast_of(precision, "cpu"):
        found = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    assert found == dtype


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux's list of CPU features")
def test_this_cpus_answer_is_the_kernels() -> None:
    features = set(Path("/proc/cpuinfo").read_text().split())
    assert hardware.cpu_has_bf16() == bool({"avx512_bf16", "amx_bf16", "bf16"} & features)


def test_normal_draws_are_left_out_on_the_meta_device_alone() -> None:
    def module() -> nn.Module:
        built = nn.Sequential(nn.Linear(3, 2), nn.Embedding(4, 3))
        for weight in built.parameters():
            nn.init.normal_(weight, mean=100.0)
        return built

    expected = {name: weight.shape for name, weight in module().named_parameters()}
    with hardware.on_meta():
        shapes = module()
        drawn = torch.zeros(5, device="cpu").normal_(mean=100.0)
        table = sincos_pos_embed(8, (2, 3), class_token=True)
    assert {name: weight.shape for name, weight in shapes.named_parameters()} == expected
    assert all(weight.is_meta for weight in (*shapes.parameters(), table))
    assert drawn.min() > 50
