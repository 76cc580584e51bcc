"""A second device without hardware: tensors that claim to be on `standin:0` while a CPU tensor does the arithmetic.

    with stand_in(lines=True) as waits:
        model, batch = to_device(model), to_device(batch)    # neither is counted
        model.training_losses(batch)["loss"].backward()
        assert waits.total == 0, waits.lines                 # what would have made a device wait for the host, or back
        loss = to_host(loss)                                 # not counted either: for what the test compares

What mixes devices raises `MixedDevicesError`, as on a GPU; a CPU tensor without dimensions may take part in elementwise
operations. `DEVICE` is the device: factories take it (`torch.zeros(2, device=DEVICE)`), also inside a model, and so do
`.to`, `torch.autocast(DEVICE.type, torch.bfloat16)` (with CUDA's lists of operators), fused AdamW, checkpointing, and
torchvision's operators. Counted are, as `torch.cuda.set_sync_debug_mode` knows them:

    scalar      item(), float(), bool(), int(), `if tensor`, torch.equal, bincount, multinomial
    nonzero     nonzero(), torch.where(mask), x[mask], masked_select, unique, nms, repeat_interleave without output_size
    to_cpu      cpu(), to("cpu"), tolist(), copies into CPU tensors; none that is non_blocking
    to_device   the same towards the device, which torch.tensor([1.0], device=DEVICE) is too; indexing by a CPU tensor

`x[mask] = 0.0` is a masked fill and does not wait; with a value that is on the device it does. Random numbers are the
CPU generator's, so that results equal the CPU's; a CPU generator given to a factory on the device raises, as on a GPU.
Not there: generators of the device, pinned memory, streams, `resize_` and others that change a shape in place.

torch takes one such device in a process, and autograd counts devices at the first backward pass: `register()` comes
before that, and tests/conftest.py calls it where there is no GPU. `torch.accelerator` is the stand-in from then on;
nothing moves to it that is not told to.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
NAME = "standin"
DEVICE = torch.device("privateuseone", 0)  # has the name `standin` from the first `stand_in()` on

_SCALAR = {"_local_scalar_dense": 1, "equal": 1, "bincount": 2, "multinomial": 2}  # waits a call
_NONZERO = {"nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "nms"}
_NONZERO |= {"unique_dim_consecutive", "repeat_interleave"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
_ANY_SCALAR = {*_INDEXING, "copy_", "masked_fill", "masked_fill_", "where", "fill_"}


class MixedDevicesError(RuntimeError):
    """An operation was given tensors of two devices."""


class Waits:
    """How often something made a device wait for the host, or the host for a device, since the last `reset`.

    Args:
        with_lines: whether to note where each was.

    Attributes:
        counts: by kind; a kind that did not occur is missing.
        lines: how often, by line, such as `maekit/base/model.py:12 scalar`; empty without `with_lines`. The innermost
            line of this repository; `backward` where autograd runs an operation by itself.
    """

    def __init__(self, with_lines: bool) -> None:
        self.with_lines, self.counting = with_lines, True
        self.counts: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Of all kinds together."""
        return self.counts.total()

    def reset(self) -> None:
        """Counts anew from 0."""
        self.counts.clear()
        self.lines.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Counts nothing inside the block; mixing devices still raises."""
        before, self.counting = self.counting, False
        try:
            yield
        finally:
            self.counting = before

    def add(self, kind: str, times: int = 1) -> None:
        """Counts a wait of a kind."""
        if self.counting and times:
            self.counts[kind] += times
            if self.with_lines:
                self.lines[f"{_line()} {kind}"] += times


def _line() -> str:
    """The innermost line of the repository that is running, without this file."""
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT) and file != Path(__file__) and "site-packages" not in file.parts:
            return f"{file.relative_to(ROOT)}:{frame.f_lineno}"
    return "backward"


_active: Waits | None = None


class StandInTensor(Tensor):
    """A tensor that claims to be on `DEVICE`; `held` is the CPU tensor that has its values."""

    held: Tensor
    constant = False  # of a Python number
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> "StandInTensor":
        made: StandInTensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.held = held
        return made

    def __init__(self, held: Tensor, requires_grad: bool = False) -> None:
        """Does what `__new__` leaves to do: nothing."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _run(func, args, dict(kwargs or {}))

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy; use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.numpy()

    def __format__(self, spec: str) -> str:
        return self.item().__format__(spec) if self.dim() == 0 else object.__format__(self, spec)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"StandInTensor({self.held!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "StandInTensor":
        copied = StandInTensor(self.held.clone(), self.requires_grad)
        if isinstance(self, nn.Parameter):
            copied._is_param = True
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _from_host, (self.detach().cpu(),)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        assert isinstance(value, StandInTensor)
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held


def _from_host(tensor: Tensor) -> StandInTensor:
    return StandInTensor(tensor)


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what no tensor of the device takes part in: factories, and copies to it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # whose wrapper of each call is slow

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, dict(kwargs or {}))


def _run(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Runs an operator; in inference mode, where a wrapper can not be a view of a tensor made outside, as `no_grad`."""
    if not torch.is_inference_mode_enabled():
        return _on_host(op, args, kwargs)
    with torch.inference_mode(False), torch.no_grad(), _Mode():  # type: ignore[no-untyped-call]
        return (op.decompose if op._can_decompose() else op)(*args, **kwargs)


def _on_host(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Runs an operator on the CPU tensors, and gives its results to the device that they would be on."""
    asked = kwargs.get("device")
    own: dict[int, StandInTensor] = {}
    plain: list[Tensor] = []
    inner = _unwrap(args, own, plain)
    named = _unwrap(kwargs, own, plain)
    if not own and (asked is None or asked.type != NAME):
        return op(*args, **kwargs)
    here = asked.type == NAME if asked is not None else True
    if asked is not None:
        named["device"] = torch.device("cpu")
    name = op._schema.name.split("::")[1]
    if name == "_has_compatible_shallow_copy_type":
        return not plain
    _count(name, args, kwargs, bool(own), here)
    _check(op, name, args, bool(own), plain, kwargs)
    result = op(*inner, **named)
    if name == "copy_" and id(args[0].held if isinstance(args[0], StandInTensor) else args[0]) not in own:
        return result  # into a tensor of the CPU
    if not here:
        return result
    made = _wrap(result, own, op)
    if name == "scalar_tensor":
        made.constant = True
    return made


def _unwrap(value: Any, own: dict[int, StandInTensor], plain: list[Tensor]) -> Any:
    if isinstance(value, StandInTensor):
        own[id(value.held)] = value
        return value.held
    if isinstance(value, Tensor):
        plain.append(value)
    elif isinstance(value, list | tuple):
        return type(value)([_unwrap(one, own, plain) for one in value])
    elif isinstance(value, dict):
        return {key: _unwrap(one, own, plain) for key, one in value.items()}
    return value


def _wrap(value: Any, own: Mapping[int, StandInTensor], op: Any) -> Any:
    if isinstance(value, Tensor):
        same = own.get(id(value))
        if same is None:
            return StandInTensor(value)
        if same.shape != value.shape or same.stride() != value.stride():
            raise NotImplementedError(f"{op} changes a tensor's shape in place, which the stand-in does not follow")
        return same
    if isinstance(value, list | tuple):
        return type(value)([_wrap(one, own, op) for one in value])
    return value


def _count(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], own: bool, here: bool) -> None:
    if _active is None:
        return
    if name in ("_to_copy", "copy_"):
        source = args[1] if name == "copy_" else args[0]
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        from_here = isinstance(source, StandInTensor)
        to_here = isinstance(args[0], StandInTensor) if name == "copy_" else here
        if from_here != to_here:
            _active.add("to_device" if to_here else "to_cpu", int(waits))
    elif not own:
        return
    elif name in _SCALAR:
        _active.add("scalar", _SCALAR[name])
    elif name in _NONZERO:
        _active.add("nonzero", int(kwargs.get("output_size") is None))
    elif name in ("masked_fill", "masked_fill_"):
        _active.add("scalar", int(_computed(args[2])))
    elif name in _INDEXING:
        masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
        fills = name != "index" and len(masks) == 1 and args[2].numel() == 1 and not any(args[3:4])
        _active.add("nonzero", 0 if fills else len(masks))
        _active.add("scalar", int(fills and _computed(args[2])))
        _active.add("to_device", sum(not isinstance(one, StandInTensor) for one in args[1] if one is not None))


def _computed(value: object) -> bool:
    """Whether a fill's value is on the device; a Python number is not, though torch makes a tensor of it there."""
    return isinstance(value, StandInTensor) and not value.constant


def _check(
    op: Any, name: str, args: Sequence[Any], own: bool, plain: Sequence[Tensor], kwargs: Mapping[str, Any]
) -> None:
    """Raises where tensors of two devices take part."""
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        raise MixedDevicesError(f"{op}: expected a {NAME!r} device type for generator but found 'cpu'")
    if not (own and plain) or name in ("_to_copy", "copy_"):
        return
    if name in _INDEXING:
        plain = [one for one in plain if not any(one is index for index in args[1])]
    free = torch.Tag.pointwise in op.tags or name in _ANY_SCALAR
    written = op._schema.is_mutable and args and isinstance(args[0], Tensor) and not isinstance(args[0], StandInTensor)
    if written or any(one.dim() > 0 or not free for one in plain):
        shapes = ", ".join(str(tuple(one.shape)) for one in plain)
        raise MixedDevicesError(
            f"{op}: expected all tensors to be on the same device, but found {DEVICE} and cpu (shapes {shapes})"
        )


class _Backend(_DummyBackendModule):
    """What torch asks of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.zeros(0, dtype=torch.uint8)  # random numbers are the CPU generator's

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        pass

    def synchronize(self, device: object = None) -> None:
        pass

    def set_device(self, device: object) -> None:
        pass


# torch/include/ATen/autocast_mode.h: what CUDA's autocast runs in half precision and in float32, as far as models do.
_HALF = "conv1d conv2d conv3d conv_transpose2d.input convolution matmul mm bmm addmm baddbmm linear einsum "
_HALF += "scaled_dot_product_attention"
_FULL = "exp log pow.Tensor_Scalar rsqrt softmax.int log_softmax.int sum sum.dim_IntList cumsum layer_norm group_norm "
_FULL += (
    "nll_loss nll_loss2d nll_loss_nd cross_entropy_loss mse_loss l1_loss smooth_l1_loss huber_loss kl_div softplus "
)
_FULL += (
    "binary_cross_entropy_with_logits cosine_similarity linalg_vector_norm norm.Scalar norm.ScalarOpt_dim logsumexp "
)
_FULL += "upsample_bilinear2d upsample_bilinear2d.vec upsample_bicubic2d upsample_bicubic2d.vec upsample_nearest2d.vec"
_KEY = "AutocastPrivateUse1"


def _casting(op: Any, half: bool) -> Callable[..., Any]:
    """Returns a kernel that casts floating tensors of the device, and runs the operator on them."""
    off = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _KEY))

    def cast(value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, list | tuple):
            return type(value)([cast(one, dtype) for one in value])
        floating = isinstance(value, StandInTensor) and value.is_floating_point() and value.dtype != torch.float64
        return value.to(dtype) if floating else value

    def kernel(*args: Any, **kwargs: Any) -> Any:
        dtype = torch.get_autocast_dtype(NAME) if half else torch.float32
        with torch._C._ExcludeDispatchKeyGuard(off):
            return op(*cast(args, dtype), **{key: cast(value, dtype) for key, value in kwargs.items()})

    return kernel


_libraries: list[Any] = []  # torch forgets kernels whose library is gone


@cache
def register() -> None:
    """Makes torch know the device, once a process, before its first backward pass: autograd counts devices then."""
    _setup_privateuseone_for_python_backend(NAME, _Backend())


@cache
def _register_autocast() -> None:
    import torchvision.ops  # noqa: F401 (torch.ops.torchvision)

    library: Any = torch.library.Library
    fallback, aten, vision = (library(name, "IMPL", _KEY) for name in ("_", "aten", "torchvision"))
    fallback.fallback(torch.library.fallthrough_kernel)
    for names, half in ((_HALF, True), (_FULL, False)):
        for name in names.split():
            packet, _, overload = name.partition(".")
            aten.impl(name, _casting(getattr(getattr(torch.ops.aten, packet), overload or "default"), half))
    for packet in ("nms", "roi_align"):
        vision.impl(packet, _casting(getattr(torch.ops.torchvision, packet).default, False))
    _libraries.extend((fallback, aten, vision))


@contextmanager
def stand_in(*, lines: bool = False) -> Iterator[Waits]:
    """Lets tensors be made on `DEVICE`, raises where devices are mixed, and counts what makes a device wait.

    Args:
        lines: whether to note the line of each wait (slower).

    Yields:
        The counts, from 0.
    """
    global _active
    assert _active is None, "a stand-in inside another"
    register()
    _register_autocast()
    waits = Waits(lines)
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(...) makes a CPU tensor and copies it, through the mode
    try:
        with _Mode():  # type: ignore[no-untyped-call]
            _active = waits
            yield waits
    finally:
        _active = None
        torch._C._set_only_lift_cpu_tensors(lifted)


def to_device(tree: T) -> T:
    """Returns models, tensors, and tuples, lists and dicts of them, on the device; the rest as it is. Not counted."""
    moved: T = _moved(tree, DEVICE)
    return moved


def to_host(tree: T) -> T:
    """Returns the same on the CPU. Not counted."""
    moved: T = _moved(tree, torch.device("cpu"))
    return moved


def _moved(tree: Any, device: torch.device) -> Any:
    with nullcontext() if _active is None else _active.paused():
        if isinstance(tree, Tensor | nn.Module):
            return tree.to(device)
        if isinstance(tree, dict):
            return {key: _moved(value, device) for key, value in tree.items()}
        if isinstance(tree, tuple) and type(tree) is not tuple:
            return type(tree)(*(_moved(value, device) for value in tree))
        if isinstance(tree, list | tuple):
            return type(tree)([_moved(value, device) for value in tree])
        return tree
