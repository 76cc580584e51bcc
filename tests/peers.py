"""What the installed timm and transformers have: maekit admits older releases than those that know a peer of a test."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import transformers
from packaging.version import Version
from safetensors.torch import load_file
from torch import nn

# Earlier ones open the safetensors file of a folder as a pickle.
TIMM_READS_FOLDERS = Version(timm.__version__) >= Version("1.0.26")
newest_names = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.9"),
    reason="transformers before 5.9 names the ViT's modules otherwise in memory",
)


def need(library: ModuleType, version: str) -> None:
    """Skips the test where the installed release is older, and lacks or names otherwise what the test looks at."""
    if Version(library.__version__) < Version(version):
        pytest.skip(f"needs {library.__name__} {version} or newer, found {library.__version__}")


def timm_peer(name: str, **settings: Any) -> Any:
    """The model of timm; the test is skipped where the installed release has none of that name."""
    if not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    return timm.create_model(name, **settings)


def transformers_peer(name: str) -> tuple[Any, Any]:
    """The classes of a configuration and a model, such as of `Dinov2`; the test is skipped where there are none."""
    if f"{name}Config" not in dir(transformers):
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    return getattr(transformers, f"{name}Config"), getattr(transformers, f"{name}Model")


def in_timm(folder: Path) -> nn.Module:
    """The model that timm builds of a folder written for it, with every tensor in its place."""
    if TIMM_READS_FOLDERS:
        model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    else:
        config = json.loads((folder / "config.json").read_text())
        model = timm_peer(config["architecture"], num_classes=config["num_classes"], **config["model_args"])
        model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return model.eval()
