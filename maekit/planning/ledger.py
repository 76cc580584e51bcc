"""Counts the bytes that one pass keeps: saved for the backward pass, copies of weights, and the peak of all at once."""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches every operation inside it, forward and backward.

    Args:
        owned: tensors that are counted elsewhere: parameters, buffers, gradients, the batch.
        weights: the parameters among them, of which autocast keeps copies during a step where they are trained.

    Attributes:
        peak: most bytes at one moment of all that was made inside.
        paused: whether nothing is counted at the moment.
        flops: floating-point operations of matrix products and convolutions, by torch's own formulas.
    """

    def __init__(self, owned: Iterable[Tensor], weights: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._owned = {_key(tensor): tensor for tensor in owned}
        self._weights = {_key(tensor) for tensor in weights if tensor.requires_grad}
        self._copies: dict[int, Tensor] = {}
        self._saved: dict[int, Tensor] = {}
        self._live: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._bytes = self.peak = self.flops = 0
        self._hooks, self.paused = ExitStack(), False

    def __enter__(self) -> Self:
        hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.enter_context(hooks)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hooks.close()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one operation and counts the storages that it makes."""
        out = func(*args, **(kwargs or {}))
        if self.paused:
            return out
        for tensor in (out,) if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        if func is torch.ops.aten._to_copy.default and _key(args[0]) in self._weights:
            self._copies[_key(out)] = out
        return out

    def saved(self, also_copies: Iterable[Tensor] = ()) -> int:
        """Returns the bytes saved for the backward pass that are neither owned nor copies of weights."""
        copies = self._copies.keys() | {_key(tensor) for tensor in also_copies}
        return _bytes(tensor for key, tensor in self._saved.items() if key not in copies)

    def weight_copies(self, also_copies: Iterable[Tensor] = ()) -> int:
        """Returns the bytes of the copies of weights in autocast's type."""
        return _bytes([*self._copies.values(), *also_copies])

    def release(self) -> None:
        """Forgets the saved tensors, which would otherwise stay alive; for the peak of a backward pass."""
        self._saved.clear()
        self._copies.clear()

    def _pack(self, tensor: Tensor) -> Tensor:
        key = _key(tensor)
        if key not in self._owned:
            self._saved[key] = tensor.detach()
        return tensor

    def _count(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._owned or key in self._live:
            return
        size = storage.nbytes()
        self._bytes += size
        self.peak = max(self.peak, self._bytes)

        def gone(_: object) -> None:
            self._live.pop(key, None)
            self._bytes -= size

        self._live[key] = weakref.ref(storage, gone)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
