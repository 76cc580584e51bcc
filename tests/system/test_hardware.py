"""Precision `auto`: bf16 where the hardware multiplies it, fp32 where it would be converted."""

from pathlib import Path

import pytest
import torch

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
