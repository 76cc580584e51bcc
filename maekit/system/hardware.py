"""Which devices this machine has, and the precision that is fast on them. Imports torch, no Lightning."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from maekit.errors import UserError

_DRAWS = (torch.Tensor.normal_, torch.nn.init.normal_)


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


def autocast_of(precision: str, accelerator: str) -> torch.autocast:
    """Returns the autocast that a run with this `trainer.precision` has (disabled unless it is a mixed precision).

    Args:
        precision: Lightning's flag, or `auto`.
        accelerator: `cuda`, `cpu`, or another accelerator's name.
    """
    chosen = auto_precision(accelerator) if precision == "auto" else precision
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(chosen)
    return torch.autocast(accelerator, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def set_matmul_precision(precision: str) -> None:
    """Lets CUDA multiply 32-bit numbers in 32 bits (`highest`) or in TF32 (`high`): matrix products and convolutions.

    torch's own default is TF32 for convolutions and 32 bits for matrix products.
    """
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision == "high"


def cpu_has_bf16() -> bool:
    """Whether this CPU has bf16 instructions (AVX512-BF16, AMX or Arm's BF16); others convert to fp32."""
    find = getattr(torch.cpu, "get_capabilities", dict)  # missing in the oldest torch that we support
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


def check_devices(accelerator: str, kind: str, devices: int | str | list[int]) -> int:
    """Returns how many devices of this machine a run uses.

    Args:
        accelerator: `trainer.accelerator` as given: auto, cpu, gpu, cuda or mps.
        kind: what it resolves to on this machine: cuda, mps or cpu; as given if there is no such device.
        devices: `trainer.devices`: how many, which ones, or auto.

    Raises:
        UserError: this machine does not have these devices.
    """
    found = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}.get(kind, 0)
    if not found:
        raise UserError(
            f"trainer.accelerator: got {accelerator}, and torch {torch.__version__} finds no such device here; "
            "use --trainer.accelerator cpu, or auto"
        )
    text = str(devices).strip("[] ")
    if text == "auto":
        return found
    if kind == "cpu":
        if isinstance(devices, list) or not text.isdigit():
            raise UserError(f"trainer.devices: got {devices}, expected a number of processes on a CPU, such as 2")
        return int(text)
    if isinstance(devices, list) or "," in text:
        numbers = [int(word) for word in text.split(",") if word.strip()]
        beyond = [number for number in numbers if number >= found]
        if beyond:
            raise UserError(f"trainer.devices: got {devices}, and there is no {kind}:{beyond[0]} here ({found} found)")
        return len(numbers)
    if int(text) > found:
        raise UserError(f"trainer.devices: got {devices}, and this machine has {found} {kind} device(s)")
    return found if text == "-1" else int(text)


@contextmanager
def on_meta() -> Iterator[None]:
    """Makes what the block builds on the meta device: no memory, no weights.

    `normal_` is left out there: on that device torch computes it in Python, for which it imports its compiler and sympy
    (1.5 s of the processor).
    """
    with torch.device("meta"), _WithoutCompiler():
        yield


class _WithoutCompiler(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _DRAWS:
            tensor = args[0] if args else given.get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **given)
