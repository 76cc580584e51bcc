"""mmsegmentation's modules, imported once: an independent UperNet to compare with.

It imports compiled operators of mmcv that UperNet does not use and mmcv-lite does not have; a placeholder stands in.
"""

import functools
import importlib
import importlib.util
import logging
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest
from torch import Tensor, nn


class _Absent(types.ModuleType):
    """A module whose every function can be imported and none called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> NoReturn:
            raise RuntimeError(f"mmcv._ext.{name} is not compiled here")

        return missing


@functools.cache
def mmseg() -> types.ModuleType:
    """`mmseg.models`; a test that asks for it is skipped where mmsegmentation is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, and those of what it imports, are not ours to mend
        pytest.importorskip("mmseg")
        if importlib.util.find_spec("mmcv._ext") is None:
            sys.modules["mmcv._ext"] = _Absent("mmcv._ext")
        return importlib.import_module("mmseg.models")


def mmseg_module(name: str) -> Any:
    """Imports a module of mmsegmentation, or skips the test."""
    mmseg()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def pyramid(embed_dim: int) -> nn.Module:
    neck: nn.Module = mmseg().necks.Feature2Pyramid(embed_dim, norm_cfg={"type": "BN"})
    return neck


def uper_head(in_channels: Sequence[int], channels: int, num_classes: int, dropout: float) -> nn.Module:
    return _head(
        "UPerHead",
        in_channels=list(in_channels),
        in_index=list(range(len(in_channels))),
        channels=channels,
        num_classes=num_classes,
        dropout_ratio=dropout,
    )


def fcn_head(in_channels: int, channels: int, num_classes: int, num_convs: int, dropout: float) -> nn.Module:
    return _head(
        "FCNHead",
        in_channels=in_channels,
        in_index=0,
        channels=channels,
        num_classes=num_classes,
        dropout_ratio=dropout,
        num_convs=num_convs,
        concat_input=False,
    )


def _head(name: str, **options: Any) -> nn.Module:
    """A decode head with the published settings, initialised as its own training would."""
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about avg_non_ignore, which the published recipe leaves off
        head: nn.Module = getattr(mmseg().decode_heads, name)(
            norm_cfg={"type": "BN"}, align_corners=False, loss_decode=loss, **options
        )
    logging.disable(logging.INFO)  # it would print every parameter
    head.init_weights()  # type: ignore[operator]
    logging.disable(logging.NOTSET)
    return head


def loss_of(head: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """The head's own loss on labels [B, H, W], through its own path."""
    pixels = importlib.import_module("mmengine.structures").PixelData
    sample = importlib.import_module("mmseg.structures").SegDataSample
    samples = [sample(gt_sem_seg=pixels(data=label[None])) for label in labels]
    loss: Tensor = head.loss_by_feat(logits, samples)["loss_ce"]  # type: ignore[operator]
    return loss
