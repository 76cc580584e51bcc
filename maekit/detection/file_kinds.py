"""The files of detectors: a ViT with windows and relative positions, a pyramid and Mask R-CNN."""

from maekit.weights.families.family import ClassHead, Family, FileKind, Rows

_ROI = "head.detector.roi_heads."

FAMILY = Family(
    kinds=(
        FileKind(
            name="detector",
            words="detection with Mask R-CNN",
            has=(f"{_ROI}box_predictor.cls_score.weight",),
            adapted="windows and relative positions",
            adapted_names=r"blocks\.\d+\.attn\.position\.(table|rel_pos_[hw])|shared_bias\..+",
            plain_tokens=True,
        ),
    ),
    starts=("head.",),
    class_heads=(
        ClassHead(
            "detector",
            f"{_ROI}box_predictor.cls_score.weight",
            {
                f"{_ROI}box_predictor.cls_score.": Rows(beside=1),
                f"{_ROI}box_predictor.bbox_pred.": Rows(each=4),
                f"{_ROI}mask_head.predictor.": Rows(),
            },
        ),
    ),
)
