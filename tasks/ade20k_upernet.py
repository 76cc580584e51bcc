"""ADE20K semantic segmentation: a fine-tuned ViT with UperNet (MAE paper, Table 5; appendix A.4).

Backbone: relative position biases and a learned scale of each branch, without the final norm; four blocks are tapped.
Head: the four maps at four scales, UperNet's decoder over all; an auxiliary classifier on the third, for training only.
    `--model.head mmseg:NAME` puts a decode head of mmsegmentation in its place.
Losses: cross entropy over all pixels, and `aux_weight` times the auxiliary head's.
Metric: mIoU on whole images, in sliding windows; also mAcc, aAcc and the IoU of each class.
Data: ADE20K, or any folder of images with label maps; random resize, crop, mirroring and colours.
Own data: DIR/images/{train,val}/*.jpg, DIR/masks/{train,val}/*.png (a class number or colour a pixel), DIR/classes.txt;
    without a `val` a share is set aside.
"""

from torch import Tensor

from maekit.base.spec import DataSpec
from maekit.segmentation.data.ade20k import ADE20K as Data
from maekit.segmentation.data.dataset import SegBatch
from maekit.segmentation.head.mmseg.head import MmsegHead
from maekit.segmentation.head.upernet import UperNetHead
from maekit.segmentation.model import Segmenter
from maekit.segmentation.settings import UperNetSettings

__all__ = ["Data", "Model"]


class Model(Segmenter):
    """A ViT with relative position biases, tapped after some blocks, and UperNet or another head on the maps."""

    least_images = 2  # the pyramid pools an image to one pixel, which BatchNorm cannot measure alone
    head: UperNetHead | MmsegHead

    def __init__(self, spec: DataSpec, settings: UperNetSettings) -> None:
        """Builds backbone and heads."""
        super().__init__(
            spec,
            settings,
            taps=settings.taps,
            final_norm=False,
            relative_position="table",
            layer_scale=settings.layer_scale,
        )
        self.aux_weight = settings.aux_weight
        if settings.head == "maekit":
            self.head = UperNetHead(
                self.backbone.embed_dim,
                channels=settings.head_channels or self.backbone.embed_dim,
                aux_channels=settings.aux_channels,
                aux_index=settings.aux_index,
                num_classes=len(spec.class_names),
                dropout=settings.dropout,
                classifier_std=settings.classifier_std,
            )
        else:
            self.use_mmseg_head(settings, aux_channels=settings.aux_channels, aux_index=settings.aux_index)
        self.expect_new = (*Segmenter.expect_new, "blocks.*.gamma_*", "blocks.*.attn.position.table")
        self.expect_unused = (*Segmenter.expect_unused, "norm.*", "fc_norm.*")

    def training_losses(self, batch: SegBatch) -> dict[str, Tensor]:
        """Returns both losses, and `loss`, their weighted sum."""
        logits, aux_logits = self.head.both(self.maps(batch.image))
        decode, auxiliary = (self.pixel_loss(each, batch.label) for each in (logits, aux_logits))
        return {"loss": decode + self.aux_weight * auxiliary, "decode": decode, "auxiliary": auxiliary}
