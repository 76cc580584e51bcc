"""Imports Lightning and torchvision without torch's compiler, which takes as long to import as torch itself.

Each asks little of the compiler while it is imported: Lightning the class of compiled modules and not to compile some
methods, torchvision whether a device is supported. That is answered here without it; what compiles imports it then.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER, UTILS = "torch._dynamo", "torch._dynamo.utils"
_LOADED = "torch._dynamo.eval_frame"  # is there where the compiler itself is, and not what stands for it


class _CompiledKind(type):
    """Answers `isinstance` as the compiler's own class would: nothing is compiled before the compiler is imported."""

    def __instancecheck__(cls, thing: object) -> bool:
        compiler = sys.modules.get(_LOADED)
        return compiler is not None and isinstance(thing, compiler.OptimizedModule)


class CompiledModule(metaclass=_CompiledKind):
    """Stands for `torch._dynamo.OptimizedModule` in `isinstance`."""


def disable(fn: Callable[..., Any], recursive: bool = True, *, reason: str | None = None) -> Callable[..., Any]:
    """Returns a function that is never compiled, as the compiler's own of this name does once that is imported."""
    marked: list[Callable[..., Any]] = []

    @wraps(fn)
    def call(*arguments: Any, **options: Any) -> Any:
        if not marked and _LOADED in sys.modules:
            marked.append(sys.modules[COMPILER].disable(fn, recursive, reason=reason))
        return (marked[0] if marked else fn)(*arguments, **options)

    return call


def is_compile_supported(device_type: str) -> bool:
    """Asks the compiler's own function of this name."""
    answer: bool = import_module(UTILS).is_compile_supported(device_type)
    return answer


def import_lightning() -> None:
    """Imports lightning.pytorch."""
    _import_without_compiler("lightning.pytorch")


def import_torchvision() -> None:
    """Imports torchvision, with its operators and decoders."""
    _import_without_compiler("torchvision")


def _import_without_compiler(name: str) -> None:
    """Imports a module, with the compiler if it asks for anything else of it; without effect on the compiler itself."""
    if name in sys.modules:
        return
    if COMPILER not in sys.modules:
        try:
            with _stand_ins():
                import_module(name)
            return
        except (ImportError, AttributeError):  # another version asks for more
            pass
    import_module(name)


@contextmanager
def _stand_ins() -> Iterator[None]:
    compiler, utils = ModuleType(COMPILER), ModuleType(UTILS)
    vars(compiler).update(OptimizedModule=CompiledModule, disable=disable)
    vars(utils).update(is_compile_supported=is_compile_supported)
    modules = {COMPILER: compiler, UTILS: utils}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
