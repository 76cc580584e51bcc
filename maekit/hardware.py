"""What the hardware is good at. Imports torch, no Lightning."""

import torch

from maekit.errors import UserError


def auto_precision(accelerator: str) -> str:
    """Lightning's precision flag for `auto`: bf16 where matrix products are faster in it, else fp32.

    Args:
        accelerator: `cuda`, `cpu`, or another accelerator's name.
    """
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if accelerator == "cpu":
        return "bf16-mixed" if cpu_has_bf16() else "32-true"
    return "32-true"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware (AVX512-BF16, AMX or Arm's BF16), not by conversion."""
    find = getattr(torch.cpu, "get_capabilities", dict)  # newer than the oldest torch this runs on
    flags: dict[str, object] = dict(find())
    return any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_device(name: str) -> torch.device:
    """Returns a device by name, `auto` for the GPU if there is one.

    Raises:
        UserError: the device cannot be used.
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        return torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error
