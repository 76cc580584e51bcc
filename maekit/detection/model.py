"""Object detection and instance segmentation on the shared backbone: Mask R-CNN on a pyramid of a plain ViT's maps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from maekit.backbone.vit import ViTOptions
from maekit.base.evaluation.confusion import BACKGROUND, confused
from maekit.base.exportable import Exportable
from maekit.base.model import TransferModel
from maekit.base.settings import TunedSettings
from maekit.base.spec import DataSpec
from maekit.detection.data.batch import DetBatch, DetEvalBatch, InstanceMask
from maekit.detection.detectron2.engine import Detectron2MaskRCNN
from maekit.detection.exportable import object_exportable
from maekit.detection.graph.detector import FixedDetector
from maekit.detection.mask_rcnn.boxes import sizes_of
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.detection.mask_rcnn.settings import MaskRCNNSettings
from maekit.detection.mask_rcnn.types import Detections
from maekit.detection.metrics.coco_masks import coco_results
from maekit.detection.metrics.curves import curves_json
from maekit.detection.metrics.detection import DetectionMetrics, class_json
from maekit.detection.metrics.records import BoxRecords
from maekit.detection.metrics.table import class_table, summary_table
from maekit.detection.pictures import SHOWN_SCORE
from maekit.detection.planned import most_detections, most_losses
from maekit.detection.pyramids import SimplePyramid, TapPyramid
from maekit.detection.shown import ShownDetections
from maekit.errors import UserError
from maekit.system.ranges import check_numbers, check_range

OF_CLASSES = "head.detector.roi_heads.box_predictor.*", "head.detector.roi_heads.mask_head.predictor.*"
OF_STAGED_CLASSES = "head.detector.roi_heads.box_predictor.*.cls_score.*", OF_CLASSES[1]  # its boxes are of no class
MASK_HEAD = "head.detector.roi_heads.mask_head.*"
EXAMPLES = 8  # objects of a made image
GROUPS = 32  # of GroupNorm, as in arXiv 1803.08494


class DetectionHead(nn.Module):
    """A pyramid of the backbone's maps and the detector on it.

    Args:
        pyramid: maps [B, D, h, w] to maps p2 to p6.
        detector: `MaskRCNN`, or detectron2's.
    """

    def __init__(self, pyramid: SimplePyramid | TapPyramid, detector: MaskRCNN | Detectron2MaskRCNN) -> None:
        super().__init__()
        self.pyramid, self.detector = pyramid, detector


@dataclass(frozen=True, kw_only=True)
class DetectorSettings(TunedSettings):
    """A ViT with a pyramid and Mask R-CNN, a cascade of it, or Faster R-CNN where objects have no shapes.

    Args:
        window: side in patches of the windows that attention is confined to; 0 for none.
        global_blocks: the blocks (from 0) that attend to the whole image all the same.
        relative_position: `decomposed`, ViTDet's vectors for rows and columns in each block; `shared`, one table of
            biases for all windowed blocks and one for the others; both begin at zero; null for none.
        pos_grid: rows and columns of the stored position table, which each forward pass resizes to the image; null for
            the image's own.
        pyramid: `simple`, from the last map alone (ViTDet); `taps`, an FPN on four maps (the MAE paper's Table 4).
        taps: the blocks (from 0) after which the residual stream is taken: one for `simple`, four for `taps`.
        pyramid_channels: width of the pyramid's maps.
        mask_rcnn: layers, sampling and selection of the Mask R-CNN.
        detector: who runs the Mask R-CNN: maekit, or detectron2's modules where that is installed.
    """

    of_depth: ClassVar[tuple[str, ...]] = ("global_blocks", "taps")
    window: int
    global_blocks: list[int]
    relative_position: Literal["decomposed", "shared"] | None
    pos_grid: list[int] | None
    pyramid: Literal["simple", "taps"]
    taps: list[int]
    pyramid_channels: int
    mask_rcnn: MaskRCNNSettings
    detector: Literal["maekit", "detectron2"] = "maekit"

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        super().__post_init__()
        check_range("model.window", self.window, "[0, inf)")
        check_range("model.pyramid_channels", self.pyramid_channels, "[1, inf)")
        check_numbers("model.pos_grid", self.pos_grid, "[1, inf)", 2)
        check_numbers("model.global_blocks", self.global_blocks, "[0, inf)")


class Detector(TransferModel):
    """A ViT without class token, a pyramid of its maps, and a detector on it; a task builds the last two."""

    monitor: tuple[str, Literal["max", "min"]] = ("box_AP", "max")
    headline: ClassVar[tuple[str, ...]] = ("box_AP", "box_AP50", "mask_AP", "mask_AP50")
    on_host: ClassVar[tuple[str, ...]] = ("size", "original", "image_id", "index")
    class_layers = OF_CLASSES
    expect_resized = (*TransferModel.expect_resized, "patch_embed.proj.weight")
    compiled: ClassVar[str] = "the backbone and the pyramid"
    head: DetectionHead

    def __init__(
        self, spec: DataSpec, settings: DetectorSettings, *, taps: list[int], **options: Unpack[ViTOptions]
    ) -> None:
        """Builds the backbone for square images of `spec.image_size`; a task builds `head`.

        Args:
            spec: class names and category ids.
            settings: of the recipe.
            taps: the blocks (from 0) after which the residual stream is taken.
            options: what else the task changes about the ViT.
        """
        super().__init__(spec, settings, **options)
        check_numbers("model.taps", taps, f"[0, {self.backbone.num_blocks - 1}]")
        self.taps, self.pyramid_channels, self.mask_rcnn = taps, settings.pyramid_channels, settings.mask_rcnn
        self.category_ids = category_ids_of(spec)
        self.expect_new = (*TransferModel.expect_new, "blocks.*.attn.position.*", "shared_bias.*")
        self.expect_unused = (*TransferModel.expect_unused, "cls_token", "reg_token", "norm.*", "fc_norm.*")
        if not spec.masks:
            self.expect_unused = (*self.expect_unused, MASK_HEAD)
        self.class_layers = OF_CLASSES if settings.mask_rcnn.num_stages == 1 else OF_STAGED_CLASSES

    def maps(self, images: Tensor) -> Sequence[Tensor]:
        """Returns the pyramid's maps p2 to p6 of images [B, 3, S, S], normalised and padded."""
        pyramid: Sequence[Tensor] = self.head.pyramid(self.backbone(images, taps=self.taps).maps)
        return pyramid

    def compile_losses(self, **options: Any) -> Callable[[DetBatch], dict[str, Tensor]]:
        """Compiles backbone and pyramid as one graph: how many regions a detector looks at differs each step."""
        maps: Callable[[Tensor], Sequence[Tensor]] = torch.compile(self.maps, **options)
        return lambda batch: self._losses(maps(batch.image), batch)

    def training_losses(self, batch: DetBatch) -> dict[str, Tensor]:
        """Returns two losses of the proposals, those of the regions, and their sum `loss`; see `RegionHeads.losses`."""
        return self._losses(self.maps(batch.image), batch)

    def _losses(self, maps: Sequence[Tensor], batch: DetBatch) -> dict[str, Tensor]:
        losses = self.head.detector.losses(maps, batch)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def example_batch(self, count: int) -> DetBatch:
        """Returns `count` black images, each with `EXAMPLES` squares of the first class along its diagonal."""
        size = self.spec.image_size
        sizes = torch.tensor([size] * count)
        corners = [place * min(size) / (EXAMPLES + 2) for place in range(EXAMPLES)]
        sides = [(low, low + 2 * min(size) / (EXAMPLES + 2)) for low in corners]
        boxes = torch.tensor([[low, low, high, high] for low, high in sides])
        labels = torch.zeros(EXAMPLES, dtype=torch.int64)
        squares = (np.array([low, low, high, low, high, high, low, high]) for low, high in sides)
        masks = [[InstanceMask((square,), None) for square in squares] if self.spec.masks else []] * count
        images, index = torch.zeros(count, self.spec.num_channels, *size), torch.zeros(count, dtype=torch.int64)
        return DetBatch(images, sizes, [boxes] * count, [labels] * count, masks, index)

    def planned_losses(self, batch: DetBatch) -> dict[str, Tensor]:
        """Returns losses of as many anchors, regions and objects as a step may draw; see `most_losses`."""
        detector = self.head.detector
        if not isinstance(detector, MaskRCNN):
            raise UserError(
                "got model.detector detectron2, expected maekit, whose numbers are the same: plan with that"
            )
        losses = most_losses(detector.proposal_generator, detector.roi_heads, self.maps(batch.image))
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def evaluate_example(self, count: int) -> None:
        """Runs backbone, pyramid and the box head on as many proposals as an evaluation may have, and their masks."""
        detector = self.head.detector
        assert isinstance(detector, MaskRCNN)
        most_detections(detector.proposal_generator, detector.roi_heads, self.maps(self.example_batch(count).image))

    @torch.inference_mode()
    def detect(self, images: Tensor, size: Tensor, original: Tensor) -> list[Detections]:
        """Returns the objects in images [B, 3, S, S] with pictures of `size` [B, 2], in pixels of `original` [B, 2]."""
        return self.head.detector.detect(self.maps(images), size, original)

    def new_metrics(self) -> DetectionMetrics:
        """Returns metrics: COCO's 12 numbers for boxes and 12 for masks, in percent; of boxes alone the first 12."""
        return DetectionMetrics(self.category_ids, masks=self.spec.masks)

    def update_metrics(self, metrics: DetectionMetrics, batch: DetEvalBatch) -> None:
        """Detects the objects of a batch, and adds them and the annotations to the metrics."""
        found = self.detect(batch.image, batch.size, batch.original)
        rows = zip(
            found, batch.image_id.tolist(), sizes_of(batch.original), batch.truth, batch.index.tolist(), strict=True
        )
        for detections, image_id, size, truth, index in rows:
            if index >= 0:
                metrics.update(coco_results(detections, size), image_id, size, truth, index)

    def table(self, metrics: DetectionMetrics) -> list[str]:
        """Returns lines: box and mask AP of each class, the worst first, and COCO's 12 numbers for boxes and masks."""
        return [*class_table(self.spec.class_names, metrics), "", *summary_table(metrics)]

    def results(self, metrics: DetectionMetrics) -> dict[str, object]:
        """Returns `coco_results.json`, which COCO's servers read, the AP of each class, confusions and PR curves."""
        names, scores, counts = self.spec.class_names, metrics.scores(), metrics.confusion(SHOWN_SCORE)
        return {
            "coco_results.json": metrics.results(),
            "per_class.json": class_json(names, metrics, counts),
            "confusion.json": {**confused([*names, BACKGROUND], counts, "objects"), "min_score": SHOWN_SCORE},
            "curves.json": {kind: curves_json(names, scores.objects, of) for kind, of in scores.curves.items()},
        }

    def image_records(self, metrics: DetectionMetrics) -> BoxRecords:
        """Returns the boxes of each image, and which are right."""
        return metrics.image_records(SHOWN_SCORE)

    def exportable(self, input: Mapping[str, Any]) -> Exportable:
        """Returns the objects of square images, see `object_exportable`."""
        fixed = FixedDetector(
            self.backbone, self.head.pyramid, self._own_detector(), taps=self.taps, side=self.spec.image_size[0]
        )
        return object_exportable(self, fixed, self.spec, self.category_ids, input)

    def _own_detector(self) -> MaskRCNN:
        """Returns the detector; of detectron2's modules, which cannot be traced, maekit's with their weights."""
        detector = self.head.detector
        if isinstance(detector, MaskRCNN):
            return detector
        classes, strides = len(self.spec.class_names), strides_of(self.backbone.patch_size)
        own = MaskRCNN(self.pyramid_channels, classes, self.mask_rcnn, strides=strides, masks=self.spec.masks)
        own.load_state_dict(detector.state_dict())
        return own.to(next(self.parameters()).device)

    def shown(self) -> ShownDetections:
        """Returns the F1 of images, panels of objects and detections, and the files of predictions."""
        return ShownDetections(self)


def category_ids_of(spec: DataSpec) -> list[int]:
    """Returns COCO's id of each class, or raises a UserError where a class's id is no whole number."""
    if wrong := [ident for ident in spec.ids() if not ident.lstrip("-").isdecimal()]:
        raise UserError(
            f"got the class id '{wrong[0]}', expected category ids that are whole numbers, as COCO's files have"
        )
    return [int(ident) for ident in spec.ids()]


def check_taps(pyramid: str, taps: list[int]) -> list[int]:
    """Returns the taps, or raises a UserError where they are not as many as the pyramid takes."""
    expected = 1 if pyramid == "simple" else 4
    if len(taps) != expected:
        raise UserError(f"model.taps: got {taps}, expected {expected} for the pyramid '{pyramid}', counted from 0")
    return taps


def make_pyramid(kind: str, embed_dim: int, channels: int) -> SimplePyramid | TapPyramid:
    """Returns the pyramid of that kind."""
    if kind == "simple":
        return SimplePyramid(embed_dim, channels)
    return TapPyramid(embed_dim, channels, norm_groups=GROUPS)


def strides_of(patch_size: int) -> tuple[int, ...]:
    """Returns the image pixels a pixel of p2 to p6 stands for: p4 is the ViT's own map."""
    return tuple(patch_size * factor // 4 for factor in (1, 2, 4, 8, 16))
