"""ADE20K semantic segmentation with a linear head (the linear probe of DINOv2 and DINOv3).

Backbone: a ViT with its final norm; frozen (`freeze`), or tuned.
Head: dropout, BatchNorm and a 1x1 convolution on the last map, resized to the crop; `--model.head mmseg:NAME` puts a
    decode head of mmsegmentation in its place.
Loss: cross entropy over all pixels.
Metric: mIoU on whole images, in sliding windows; also mAcc, aAcc and the IoU of each class.
Data: ADE20K, or any folder of images with label maps; random resize, crop, mirroring and colours.
Own data: DIR/images/{train,val}/*.jpg, DIR/masks/{train,val}/*.png (a class number or colour a pixel), DIR/classes.txt;
    without a `val` a share is set aside.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from maekit.base.spec import DataSpec
from maekit.segmentation.data.ade20k import ADE20K as Data
from maekit.segmentation.head.layers import pixel_classifier
from maekit.segmentation.model import Segmenter
from maekit.segmentation.settings import LinearSettings

__all__ = ["Data", "Model"]


class Head(nn.Module):
    """Dropout of whole channels, BatchNorm, and a 1x1 convolution: [B, D, h, w] to logits [B, C, h, w]."""

    def __init__(self, embed_dim: int, num_classes: int, *, dropout: float, classifier_std: float) -> None:
        super().__init__()
        self.dropout, self.bn = nn.Dropout2d(dropout), nn.BatchNorm2d(embed_dim)
        self.conv_seg = pixel_classifier(embed_dim, num_classes, classifier_std)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns the logits of the only map."""
        logits: Tensor = self.conv_seg(self.bn(self.dropout(maps[0])))
        return logits


class Model(Segmenter):
    """A ViT, frozen or tuned, and a linear head or another one on its last map."""

    def __init__(self, spec: DataSpec, settings: LinearSettings) -> None:
        """Builds backbone and head; `freeze`, which the recipe sets, freezes the backbone."""
        super().__init__(spec, settings, taps=[], final_norm=True)
        if settings.head != "maekit":
            self.use_mmseg_head(settings)
            return
        dropout, std = settings.dropout, settings.classifier_std
        self.head = Head(self.backbone.embed_dim, len(spec.class_names), dropout=dropout, classifier_std=std)

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the last map, after the final norm."""
        return (self.last_map(images),)
