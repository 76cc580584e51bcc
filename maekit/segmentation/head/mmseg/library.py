"""mmsegmentation, imported where a head of it is asked for: without its warnings, and without compiled operators."""

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

from maekit.errors import UserError
from maekit.system.remarks import without_remarks

INSTALL = "python -m pip install 'maekit[mmseg]'"
_COMPILED = "mmcv._ext"


class OperatorMissingError(RuntimeError):
    """A compiled operator of mmcv was called that is not there; the text is its name."""


class _Absent(ModuleType):
    """A module whose every function can be imported and none called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):  # what Python and inspect ask of every module
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> NoReturn:
            raise OperatorMissingError(name)

        return missing


def mmseg_module(name: str, flag: str = "model.head") -> ModuleType:
    """Returns a module of mmsegmentation, such as `mmseg.models`.

    It imports all of mmcv's operators, most of which mmcv-lite lacks and no head of a plain ViT calls: where mmcv's
    compiled module is absent a placeholder stands in, whose functions raise an OperatorMissingError when called.

    Args:
        name: of the module.
        flag: what asked for it, for the error.

    Raises:
        UserError: mmsegmentation or what it needs is not installed, or of versions that do not go together.
    """
    try:
        with without_remarks():
            if _COMPILED not in sys.modules and importlib.util.find_spec(_COMPILED) is None:
                sys.modules[_COMPILED] = _Absent(_COMPILED)
            return importlib.import_module(name)
    except (ImportError, AssertionError) as error:  # it asserts the versions of mmcv and mmengine
        missing = isinstance(error, ModuleNotFoundError)
        why = f"{error.name} is missing" if isinstance(error, ModuleNotFoundError) else " ".join(str(error).split())
        raise UserError(
            f"{flag}: got a head of mmsegmentation, expected it installed{'' if missing else ' as tested'} ({why}); "
            f"run `{INSTALL}`, or give --model.head maekit"
        ) from None


def version() -> str:
    """Returns the version of the installed mmsegmentation."""
    return importlib.metadata.version("mmsegmentation")
