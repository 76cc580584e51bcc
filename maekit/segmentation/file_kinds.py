"""The files of segmenters: a ViT with relative positions and LayerScale, and the heads of UperNet or their like."""

from maekit.weights.families.family import ClassHead, Family, FileKind, Rows

FAMILY = Family(
    kinds=(
        FileKind(
            name="segmenter",
            words="segmentation with UperNet or another decode head",
            has=("head.decode.conv_seg.weight",),
            adapted="relative positions and LayerScale",
            adapted_names=r"blocks\.\d+\.(gamma_[12]|attn\.position\.table|attn\.relative_position_index)|shared_bias\..+",
        ),
    ),
    starts=("head.",),
    class_heads=(
        ClassHead(
            "segmentation head",
            "head.decode.conv_seg.weight",
            {"head.decode.conv_seg.": Rows(), "head.auxiliary.conv_seg.": Rows()},
        ),
    ),
)
