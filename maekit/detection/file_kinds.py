"""The files of detectors: a ViT with windows and relative positions, a pyramid, and Mask R-CNN or a variant of it."""

import re
from collections.abc import Iterable, Iterator

from maekit.detection.mask_rcnn.settings import MOST_STAGES
from maekit.weights.families.family import ClassHead, Family, FileKind, Rows
from maekit.weights.families.fit import Attempt

_ROI = "head.detector.roi_heads."
_PLAIN, _STAGED = f"{_ROI}box_predictor.cls_score.weight", f"{_ROI}box_predictor.0.cls_score.weight"
_MASKS = f"{_ROI}mask_head.predictor.weight"
_STAGE = re.compile(re.escape(f"{_ROI}box_predictor.") + r"(\d+)\.cls_score\.weight")


def _kind(name: str, words: str, *has: str, lacks: tuple[str, ...] = ()) -> FileKind:
    return FileKind(
        name=name,
        words=words,
        has=has,
        lacks=lacks,
        adapted="windows and relative positions",
        adapted_names=r"blocks\.\d+\.attn\.position\.(table|rel_pos_[hw])|shared_bias\..+",
        plain_tokens=True,
    )


def stages_in(names: Iterable[str]) -> int:
    """Returns how many box heads a detector has whose tensors have these names; 0 without any."""
    known = set(names)
    return 1 if _PLAIN in known else sum(_STAGE.fullmatch(name) is not None for name in known)


def _problems(attempt: Attempt) -> Iterator[str]:
    """Yields what to change about a model of other stages than the file's, or of masks that it lacks."""
    fit = attempt.fit
    theirs, ours = stages_in(fit.found), stages_in(fit.own)
    if not theirs or not ours:
        return
    if theirs != ours:
        words = [f"a cascade of {count} stages" if count > 1 else "one stage (no cascade)" for count in (theirs, ours)]
        flags = "a recipe such as cascade_base, or model.mask_rcnn.cascade_iou and cascade_box_weights of its stages"
        if theirs == 1:
            flags = "--model.mask_rcnn.cascade_iou [] --model.mask_rcnn.cascade_box_weights []"
        yield f"it is of {words[0]}, expected {words[1]}: give {flags}"
    if _MASKS in fit.own and _MASKS not in fit.found:
        yield "it is of a detector of boxes alone, expected one of masks too: give --data.masks false"


FAMILY = Family(
    kinds=(
        _kind("detector", "detection with Mask R-CNN", _PLAIN, _MASKS),
        _kind("box_detector", "detection of boxes with Faster R-CNN", _PLAIN, lacks=(_MASKS,)),
        _kind("cascade_detector", "detection with Cascade Mask R-CNN", _STAGED, _MASKS),
        _kind("cascade_box_detector", "detection of boxes with Cascade R-CNN", _STAGED, lacks=(_MASKS,)),
    ),
    starts=("head.",),
    class_heads=(
        ClassHead(
            "detector",
            _PLAIN,
            {
                f"{_ROI}box_predictor.cls_score.": Rows(beside=1),
                f"{_ROI}box_predictor.bbox_pred.": Rows(each=4),
                f"{_ROI}mask_head.predictor.": Rows(),
            },
        ),
        ClassHead(
            "detector",
            _STAGED,
            {f"{_ROI}box_predictor.{stage}.cls_score.": Rows(beside=1) for stage in range(MOST_STAGES)}
            | {f"{_ROI}mask_head.predictor.": Rows()},
        ),
    ),
    problems=_problems,
)
