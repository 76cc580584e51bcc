"""Every tensor of every batch is pinned, and goes to a GPU without the host waiting for it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

import maekit
from maekit.base.spec import Draw

TASKS = ["imagenet_finetune", "mae_pretrain", "ade20k_upernet", "coco_maskrcnn"]


def batches(task: str) -> list[Any]:
    """A training batch and an evaluation batch, whose images may be of several sizes."""
    data = maekit.build(task, "smoke", {"model.weights": "none", "data.num_workers": 0}).data
    sets = (data.train_dataset(0), data.val_dataset())
    return [data.collate([images[Draw(0, index)] for index in range(3)]) for images in sets]


def tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors of nested containers."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, list | tuple | dict):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from tensors(part)


class Copies:
    """Stands in for pinning and copying, which need a GPU, and notes which tensors they were asked for."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.pinned: set[int] = set()
        self.moved: dict[int, bool] = {}
        to = Tensor.to

        def pin(tensor: Tensor, *_: Any) -> Tensor:
            copy = tensor.clone()
            self.pinned.add(id(copy))
            return copy

        def move(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
            self.moved[id(tensor)] = non_blocking
            return to(tensor, device)

        patched.setattr(Tensor, "pin_memory", pin)
        patched.setattr(Tensor, "to", move)


@pytest.mark.parametrize("task", TASKS)
def test_every_tensor_is_pinned_and_copied_without_waiting(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for batch in batches(task):
        with monkeypatch.context() as patched:
            copies = Copies(patched)
            pin: Any = pin_memory
            ready = pin(batch)
            there = move_data_to_device(ready, torch.device("meta"))
        found = {id(tensor) for tensor in tensors(ready)}
        assert type(there) is type(ready) is type(batch)
        assert len(found) == len(list(tensors(batch))) > 0
        assert found == copies.pinned == set(copies.moved)
        assert all(copies.moved.values())
        assert all(tensor.is_meta for tensor in tensors(there))


def test_outlines_stay_numpys() -> None:
    """They are drawn on the host."""
    pin: Any = pin_memory
    training, _ = batches("coco_maskrcnn")
    there = move_data_to_device(pin(training._replace(image=[], size=[], boxes=[], labels=[], index=[])), "meta")
    shapes = [mask for masks in there.masks for mask in masks]
    assert shapes
    assert all(isinstance(points, np.ndarray) for mask in shapes for points in mask.polygons)
