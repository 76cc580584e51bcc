"""What is exported of a detector: the objects of padded square images, a fixed number of rows for each."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from maekit.base.exportable import Exportable, Inputs, Runs, method_replaced
from maekit.base.spec import DataSpec
from maekit.detection.data.batch import DetEvalBatch
from maekit.detection.data.transforms import DetEvalTransform
from maekit.detection.graph.detector import FixedDetector
from maekit.detection.graph.outputs import compare_objects, detections_of
from maekit.detection.mask_rcnn.types import Detections

FAMILY = "detection"
WHY = "anchors, windows and positions are those of this square; pictures of any size are fitted into it"


def object_exportable(
    model: nn.Module, detector: FixedDetector, spec: DataSpec, category_ids: list[int], input: Mapping[str, Any]
) -> Exportable:
    """Returns what is exported of a detector.

    The boxes are in pixels of the square image. `detections_of` brings them, and with `paste_masks` the masks, to the
    file's pixels: a graph would need the file's size, and outputs of every size.

    Args:
        model: whose method `detect` its evaluation asks.
        detector: the same, with outputs of fixed shapes.
        spec: of its data.
        category_ids: COCO's id of each class, in label order.
        input: the values of the evaluation transform.
    """
    transform, settings = DetEvalTransform(**input), detector.detector.settings

    def prepare(image: Any) -> Inputs:
        pixels, inside = transform(image)
        return pixels, torch.tensor(inside)

    def inputs_of(batch: DetEvalBatch) -> list[Tensor | Inputs]:
        real = batch.index >= 0
        return [(batch.image[real], batch.size[real])] if bool(real.any()) else []

    def evaluated_with(runs: Runs) -> AbstractContextManager[None]:
        def detect(images: Tensor, size: Tensor, original: Tensor) -> list[Detections]:
            return detections_of(runs(images, size), size, original)

        return method_replaced(model, "detect", detect)

    return Exportable(
        module=detector.eval(),
        outputs=detector.outputs,
        image_size=spec.image_size,
        channels=spec.num_channels,
        metadata={
            "family": FAMILY,
            "class_names": list(spec.class_names),
            "category_ids": category_ids,
            "masks": spec.masks,
            "max_detections": settings.max_detections,
            "max_proposals": settings.rpn_post_nms[1],
            "min_score": settings.min_score,
            "nms_iou": settings.nms_iou,
            "input": dict(input),
        },
        prepare=prepare,
        images_of=inputs_of,
        compare=compare_objects,
        unit="objects",
        fixed_because=WHY,
        inputs=("images", "sizes"),
        further=whole,
        evaluated_with=evaluated_with,
    )


def whole(images: Tensor) -> Inputs:
    """Returns sizes [B, 2] of pictures that fill their square images [B, C, S, S]."""
    return (torch.tensor([images.shape[2:]] * images.shape[0]),)
