"""maekit: transfer tasks of masked autoencoders. `import maekit` is light; torch comes with the first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from maekit.version import __version__

if TYPE_CHECKING:
    from maekit.api import Session, build, load_backbone
    from maekit.errors import UserError

__all__ = ["Session", "UserError", "__version__", "build", "load_backbone"]

_HOMES = {"Session": "maekit.api", "build": "maekit.api", "load_backbone": "maekit.api", "UserError": "maekit.errors"}


def __getattr__(name: str) -> Any:
    """Imports the public names on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'maekit' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
