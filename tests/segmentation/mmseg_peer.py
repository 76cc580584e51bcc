"""mmsegmentation's modules, imported as maekit does: an independent UperNet to compare with."""

import importlib
import types
from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor, nn

from maekit.segmentation.head.mmseg.library import mmseg_module as library_module
from maekit.system.remarks import without_remarks


def mmseg_module(name: str) -> Any:
    """Imports a module of mmsegmentation; a test that asks for it is skipped where mmsegmentation is not installed."""
    with without_remarks():
        pytest.importorskip("mmseg")
    return library_module(name)


def mmseg() -> types.ModuleType:
    """`mmseg.models`."""
    module: types.ModuleType = mmseg_module("mmseg.models")
    return module


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
    made = getattr(mmseg().decode_heads, name)
    with without_remarks():
        head: nn.Module = made(norm_cfg={"type": "BN"}, align_corners=False, loss_decode=loss, **options)
        head.init_weights()  # type: ignore[operator]
    return head


def loss_of(head: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """The head's own loss on labels [B, H, W], through its own path."""
    pixels = importlib.import_module("mmengine.structures").PixelData
    sample = importlib.import_module("mmseg.structures").SegDataSample
    samples = [sample(gt_sem_seg=pixels(data=label[None])) for label in labels]
    loss: Tensor = head.loss_by_feat(logits, samples)["loss_ce"]  # type: ignore[operator]
    return loss
