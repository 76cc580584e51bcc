"""The two sides of each part of the benchmark: maekit's, and detectron2's or torchvision's with the same weights."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from coco_batch import CLASSES, SIDE
from torch import Tensor, nn

from maekit.base.spec import DataSpec
from maekit.detection.data.batch import DetBatch
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.weights.layouts.detectron2 import to_detectron2

PEERS = {"backbone": "detectron2", "detector": "torchvision"}
HOW_TO_INSTALL = (
    "detectron2 is not installed: python -m pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2'"
)


@dataclass
class Part:
    """One side of one part.

    Attributes:
        model: whose gradients are computed.
        loss: runs it forward; a scalar to go back from.
        outputs: what the last call of `loss` gave: maps, or losses by name.
    """

    model: nn.Module
    loss: Callable[[], Tensor]
    outputs: dict[str, Tensor]


def recipe_values() -> dict[str, Any]:
    """The settings of `coco_maskrcnn --recipe base`."""
    task = find_task("coco_maskrcnn")
    flags = ["--model.weights=none", "--model.drop_path=0"]
    return resolve(load_recipe(task, "base"), task.load(), flags, training=False).values


def recipe_model() -> Any:
    """Its model for COCO's 80 classes."""
    spec = DataSpec(tuple(map(str, range(CLASSES))), (SIDE, SIDE))
    return find_task("coco_maskrcnn").load().Model.build(spec, recipe_values()["model"]).train()


def write_weights(path: Path) -> None:
    """Maekit's weights for both sides; the tables of relative position, which begin at zero, are drawn too."""
    torch.manual_seed(0)
    model = recipe_model()
    for name, tensor in model.named_parameters():
        if "rel_pos" in name:
            nn.init.normal_(tensor, std=0.02)
    torch.save(model.state_dict(), path)


def maekit_backbone(weights: dict[str, Tensor], batch: DetBatch) -> Part:
    """The ViT and pyramid of `coco_maskrcnn --recipe base`."""
    model = recipe_model()
    model.head.detector = nn.Identity()
    model.load_state_dict({name: tensor for name, tensor in weights.items() if ".detector." not in name})
    return _of_maps(model, lambda: model.maps(batch.image))


def detectron2_backbone(weights: dict[str, Tensor], batch: DetBatch) -> Part:
    """The same by detectron2's ViT and SimpleFeaturePyramid, as projects/ViTDet configures them."""
    vit = importlib.import_module("detectron2.modeling.backbone.vit")
    last_level = importlib.import_module("detectron2.modeling.backbone.fpn").LastLevelMaxPool()
    net = vit.ViT(
        img_size=SIDE, window_size=14, window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10], use_rel_pos=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), out_feature="last_feat",
    )  # fmt: skip
    scales = (4.0, 2.0, 1.0, 0.5)
    model: nn.Module = vit.SimpleFeaturePyramid(net, "last_feat", 256, scales, last_level, "LN", square_pad=SIDE)
    named = to_detectron2(Path("weights"), {name.removeprefix("backbone."): tensor for name, tensor in weights.items()})
    prefix = "backbone."
    model.load_state_dict({name.removeprefix(prefix): named[name] for name in named if name.startswith(prefix)})
    return _of_maps(model.train(), lambda: model(batch.image).values())


def maekit_detector(weights: dict[str, Tensor], batch: DetBatch) -> Part:
    """Maekit's Mask R-CNN on given maps."""
    model = MaskRCNN(256, CLASSES, MaskRCNNSettings(**recipe_values()["model"]["mask_rcnn"]))
    model.load_state_dict(_detector_weights(weights))
    maps = _given_maps(len(batch.image))
    return _of_losses(model.train(), lambda: model.losses(maps, batch))


def torchvision_detector(weights: dict[str, Tensor], batch: DetBatch) -> Part:
    """torchvision's Mask R-CNN on the same maps; the bitmaps it is taught with are drawn beforehand."""
    import coco_torchvision

    model = coco_torchvision.build(recipe_values()["model"]["mask_rcnn"], CLASSES)
    coco_torchvision.load(model, _detector_weights(weights))
    maps, truth = _given_maps(len(batch.image)), coco_torchvision.targets(batch)
    return _of_losses(model.train(), lambda: coco_torchvision.losses(model, maps, truth, SIDE))


def _given_maps(batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sides = [SIDE // stride for stride in (4, 8, 16, 32, 64)]
    return [torch.randn(batch, 256, side, side, generator=generator).requires_grad_() for side in sides]


def _of_maps(model: nn.Module, maps: Callable[[], Iterable[Tensor]]) -> Part:
    """The maps' mean squares, whose gradients come in channel by channel, as a head's convolutions give them."""
    return _part(
        model,
        lambda: {f"p{level}": one for level, one in enumerate(maps(), 2)},
        lambda found: [one.float().square().mean() for one in found],
    )


def _of_losses(model: nn.Module, losses: Callable[[], dict[str, Tensor]]) -> Part:
    return _part(model, losses, lambda found: found)


def _part(
    model: nn.Module, forward: Callable[[], dict[str, Tensor]], scalars: Callable[[list[Tensor]], list[Tensor]]
) -> Part:
    """What `forward` gives is kept; the loss is the sum of the scalars made of it."""

    def loss() -> Tensor:
        part.outputs = forward()
        return torch.stack(scalars(list(part.outputs.values()))).sum()

    part = Part(model, loss, {})
    return part


def _detector_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "head.detector."
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


SIDES: dict[str, dict[str, Callable[[dict[str, Tensor], DetBatch], Part]]] = {
    "backbone": {"maekit": maekit_backbone, "detectron2": detectron2_backbone},
    "detector": {"maekit": maekit_detector, "torchvision": torchvision_detector},
}
