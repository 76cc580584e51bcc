"""The optional libraries of an export, imported late, and what their absence means."""

from importlib import import_module
from types import ModuleType

from maekit.errors import UserError

INSTALL = "pip install 'maekit[onnx]'"


def library(name: str, why: str) -> ModuleType:
    """Imports onnx, onnxscript, onnxruntime or a part of one.

    Args:
        name: the module, such as `onnxruntime.quantization`.
        why: what it is needed for, to begin the error with.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{why} needs {name.partition('.')[0]}, which is not installed; {INSTALL}") from error
