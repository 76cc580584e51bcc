"""COCO object detection and instance segmentation with Mask R-CNN (MAE paper, Table 4; ViTDet).

Backbone: no class token and no final norm; windows, but for a few global blocks, with a relative position.
Head: a pyramid of five maps, from the last map alone (ViTDet) or from four (the paper's Table 4), and Mask R-CNN on it.
Losses: two of the proposals, three of the regions (class, box, mask), summed; a cascade has class and box in each
stage, and without shapes there is no mask.
Metric: COCO's box AP; also mask AP and COCO's other numbers, and the AP of each class.
Data: COCO, or any images with COCO-format JSON; large-scale jittering to a square.
Own data: images and COCO-format JSON of any categories, or YOLO's form (data.yaml, images/, labels/); boxes or masks;
    without a validation split a share is set aside.
"""

from maekit.base.spec import DataSpec
from maekit.detection.data.coco.coco import COCO as Data
from maekit.detection.detectron2.engine import Detectron2MaskRCNN
from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
from maekit.detection.model import DetectionHead, Detector, DetectorSettings, check_taps, make_pyramid, strides_of

__all__ = ["Data", "Model"]


class Model(Detector):
    """A ViT with windowed attention, a pyramid, and Mask R-CNN."""

    def __init__(self, spec: DataSpec, settings: DetectorSettings) -> None:
        """Builds backbone, pyramid and detector."""
        grid = settings.pos_grid
        super().__init__(
            spec,
            settings,
            taps=check_taps(settings.pyramid, settings.taps),
            drop_path=settings.drop_path,
            gradient_checkpointing=settings.gradient_checkpointing,
            class_token=False,
            final_norm=False,
            window=settings.window,
            global_blocks=tuple(settings.global_blocks),
            relative_position=settings.relative_position,
            pos_grid=None if grid is None else (grid[0], grid[1]),
        )
        channels, strides = settings.pyramid_channels, strides_of(self.backbone.patch_size)
        pyramid = make_pyramid(settings.pyramid, self.backbone.embed_dim, channels)
        engine = MaskRCNN if settings.detector == "maekit" else Detectron2MaskRCNN
        classes, masks = len(spec.class_names), spec.masks
        self.head = DetectionHead(pyramid, engine(channels, classes, settings.mask_rcnn, strides=strides, masks=masks))
