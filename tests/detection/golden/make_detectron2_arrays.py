"""Makes detectron2_arrays.npz and cascade_arrays.npz: what detectron2's own modules say of detection_case.py.

With detectron2 installed (python -m pip install --no-build-isolation
'git+https://github.com/facebookresearch/detectron2'), from the repository's top:

    python -m tests.detection.golden.make_detectron2_arrays

The modules are built from detectron2's published configuration of ViTDet, only narrower, with everything drawn that can
be and less kept; the cascade as projects/ViTDet/configs/COCO/cascade_mask_rcnn_vitdet_b_100ep.py changes that
configuration. The arrays in the repository are those of detectron2 0.6 at commit 02b5c4e, with torch on a CPU.
"""

import copy
from pathlib import Path
from typing import Any

import detectron2
import numpy as np
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.layers import paste_masks_in_image
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.roi_heads import CascadeROIHeads
from detectron2.structures import Boxes, ImageList, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import nn

from tests.detection.golden import detection_case as case

LEVELS = ["p2", "p3", "p4", "p5", "p6"]
FILE = Path(__file__).parent / "detectron2_arrays.npz"
CASCADE_FILE = FILE.with_name("cascade_arrays.npz")


def model(norm: str, detector: str = "mask") -> nn.ModuleDict:
    """detectron2's proposal generator and heads of regions, as ViTDet configures them.

    Args:
        norm: of the box and mask heads.
        detector: `mask`, `boxes` without a mask head, or `cascade`.
    """
    folder = Path(detectron2.__file__).parent / "model_zoo/configs/common/models"
    cfg = LazyConfig.load(str(folder / "mask_rcnn_vitdet.py")).model
    rpn, roi = cfg.proposal_generator, cfg.roi_heads
    rpn.head.in_channels = roi.box_head.input_shape.channels = roi.mask_head.input_shape.channels = case.CHANNELS
    roi.box_head.conv_norm = roi.mask_head.conv_norm = norm
    roi.box_head.conv_dims, roi.mask_head.conv_dims = [16] * 4, [16] * 5
    roi.box_head.fc_dims, roi.box_predictor.input_shape.channels = [32], 32
    roi.num_classes = case.CLASSES
    more = case.EXHAUSTIVE
    rpn.batch_size_per_image, roi.batch_size_per_image = more["rpn_batch"], more["roi_batch"]
    rpn.pre_nms_topk, rpn.post_nms_topk = more["rpn_pre_nms"], more["rpn_post_nms"]
    roi.positive_fraction = more["roi_positive"]
    roi.box_predictor.test_topk_per_image = more["max_detections"]
    if detector == "boxes":
        roi.mask_in_features = roi.mask_pooler = roi.mask_head = None
    if detector == "cascade":
        make_cascade(roi)
    modules = nn.ModuleDict({"proposal_generator": instantiate(rpn), "roi_heads": instantiate(roi)})
    case.fill(modules)
    return modules


def make_cascade(roi: Any) -> None:
    """Changes a configuration of StandardROIHeads into one of CascadeROIHeads, with one box for all classes."""
    head, predictor, matcher = (roi.pop(name) for name in ("box_head", "box_predictor", "proposal_matcher"))
    predictor.num_classes, predictor.cls_agnostic_bbox_reg = case.CLASSES, True
    weights = [case.PUBLISHED["box_weights"], *case.CASCADE["cascade_box_weights"]]
    overlaps = [case.PUBLISHED["roi_iou"], *case.CASCADE["cascade_iou"]]
    roi._target_ = CascadeROIHeads
    roi.box_heads = [copy.deepcopy(head) for _ in overlaps]
    roi.box_predictors = [copy.deepcopy(predictor) for _ in overlaps]
    roi.proposal_matchers = [copy.deepcopy(matcher) for _ in overlaps]
    for stage, numbers in enumerate(weights):
        roi.box_predictors[stage].box2box_transform.weights = tuple(numbers)
        roi.proposal_matchers[stage].thresholds = [overlaps[stage]]


def instances() -> list[Instances]:
    """The case's objects as detectron2 takes them."""
    batch, images = case.batch(), []
    for size, boxes, labels, masks in zip(batch.size.tolist(), batch.boxes, batch.labels, batch.masks, strict=True):
        image = Instances(tuple(size), gt_boxes=Boxes(boxes), gt_classes=labels)
        image.gt_masks = PolygonMasks([list(mask.polygons) for mask in masks])
        images.append(image)
    return images


def evaluated(modules: nn.ModuleDict, prefix: str) -> dict[str, Any]:
    """Proposals and detections, and the masks pasted."""
    size, original = case.sizes()
    features = dict(zip(LEVELS, case.maps(), strict=True))
    images = ImageList(torch.zeros(2, 3, 1, 1), [tuple(one) for one in size.tolist()])
    modules.eval()
    arrays: dict[str, Any] = {}
    stages = staged_boxes(modules["roi_heads"])
    with torch.no_grad():
        proposals, _ = modules["proposal_generator"](images, features, None)
        found, _ = modules["roi_heads"](images, features, proposals, None)
    for number, (image, (height, width)) in enumerate(zip(found, original.tolist(), strict=True)):
        name = f"{prefix}_{number}"
        arrays[f"{name}_proposals"] = proposals[number].proposal_boxes.tensor
        arrays[f"{name}_objectness"] = proposals[number].objectness_logits
        arrays |= {f"{name}_stage{at}": images[number] for at, images in enumerate(stages)}
        scaled = Instances(image.image_size, pred_boxes=image.pred_boxes.clone(), scores=image.scores)
        scaled.pred_classes = image.pred_classes
        if image.has("pred_masks"):
            scaled.pred_masks = image.pred_masks
        scaled = detector_postprocess(scaled, height, width)
        assert len(scaled) == len(image)
        arrays[f"{name}_boxes"], arrays[f"{name}_scores"] = scaled.pred_boxes.tensor, scaled.scores
        arrays[f"{name}_labels"] = scaled.pred_classes
        if image.has("pred_masks"):
            small = image.pred_masks[:, 0]
            arrays[f"{name}_masks"] = small.half()
            again = paste_masks_in_image(small.half().float(), scaled.pred_boxes, (height, width))
            arrays[f"{name}_pasted"] = np.packbits(again.numpy())
    return arrays


def staged_boxes(heads: Any) -> list[list[torch.Tensor]]:
    """Returns a list that is filled, when a cascade runs, with each image's boxes of each stage but the last."""
    stages: list[list[torch.Tensor]] = []
    if isinstance(heads, CascadeROIHeads):
        create = heads._create_proposals_from_boxes

        def spied(boxes: Any, sizes: Any) -> Any:
            made = create(boxes, sizes)
            stages.append([image.proposal_boxes.tensor for image in made])
            return made

        heads._create_proposals_from_boxes = spied
    return stages


def trained(modules: nn.ModuleDict, prefix: str) -> dict[str, Any]:
    """The losses, and the norm of the gradient of each parameter and map."""
    maps, truth = case.maps(), instances()
    features = dict(zip(LEVELS, maps, strict=True))
    images = ImageList(torch.zeros(2, 3, 1, 1), [image.image_size for image in truth])
    modules.train()
    with EventStorage():
        proposals, losses = modules["proposal_generator"](images, features, truth)
        losses |= modules["roi_heads"](images, features, proposals, truth)[1]
    sum(losses.values()).backward()
    arrays: dict[str, Any] = {f"{prefix}_{name}": loss.detach() for name, loss in losses.items()}
    named: dict[str, Any] = {name: value.grad for name, value in modules.named_parameters()}
    named |= {f"map {number}": image.grad for number, image in enumerate(maps)}
    arrays[f"{prefix}_gradient_names"] = np.array(list(named))
    arrays[f"{prefix}_gradient_norms"] = torch.stack([grad.norm() for grad in named.values()])
    return arrays


def main() -> None:
    """Writes the arrays."""
    arrays: dict[str, Any] = {}
    for norm in ("LN", "BN"):
        modules = model(norm)
        arrays |= evaluated(modules, norm) | trained(modules, norm)
    truth = instances()[0]
    boxes = torch.tensor([[10, 20, 100, 120.5], [30.3, 40.7, 90.1, 130.9], [50, 60, 50.05, 90], [-5, 0, 150, 210]])
    objects = [0, 0, 1, 2]
    arrays["target_boxes"], arrays["target_objects"] = boxes, np.array(objects)
    arrays["targets"] = np.packbits(truth.gt_masks[objects].crop_and_resize(boxes, 28).numpy())
    write(FILE, arrays)
    arrays = {}
    for detector in ("cascade", "boxes"):
        modules = model("LN", detector)
        arrays |= evaluated(modules, detector) | trained(modules, detector)
    write(CASCADE_FILE, arrays)


def write(file: Path, arrays: dict[str, Any]) -> None:
    """Writes the arrays, compressed."""
    numbers: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(file, **numbers)
    print(f"{file}: {file.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
