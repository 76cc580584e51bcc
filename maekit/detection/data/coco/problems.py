"""Problems of a COCO data set that stop a run, each as one line."""

from maekit.detection.data.coco.boxes import compare_boxes
from maekit.detection.data.coco.file import CocoFile


def absent_images(file: CocoFile) -> str | None:
    """Returns one line if an annotation file lists images that are not there, else None."""
    absent, hint = file.found.absent, file.found.hint
    if not absent:
        return None
    more = f" and {len(absent) - 1:,} more" if absent[1:] else ""
    first = f"{file.image(absent[0])}{more}: listed in {file.path} but not there{hint}"
    if hint:
        return first
    if len(absent) == len(file) > 1:
        advice = "add them, or give the folder that they are in by --data.train_images or --data.val_images"
        return f"{first}; none of its images is in {file.folder}: {advice}"
    return f"{first}; add the image{'s' if more else ''}, or take {'them' if more else 'it'} out of the list"


def wrong_boxes(file: CocoFile) -> str | None:
    """Returns one line if nearly all boxes or shapes of a file are written in a wrong form, else None."""
    form = compare_boxes(file.objects, file.sizes).form
    return f"{file.path}: {form}" if form else None


def other_categories(train: CocoFile, val: CocoFile) -> str | None:
    """Returns one line if the categories of the validation split are not among those of the training split."""
    for ident, name in val.categories.items():
        known = train.categories.get(ident)
        if known != name:
            what = f"'{known}'" if known else "no category"
            if ident in train.roots:
                what = f"'{train.roots[ident]}', which has no object there and only groups others"
            advice = "use the same ids and names in both"
            return f"{val.path}: category {ident} is '{name}', in {train.path} that id is {what}; {advice}"
    return None


def nothing_to_learn(train: CocoFile) -> str | None:
    """Returns one line if no image of the training split holds an object that can be learned from."""
    objects = train.objects
    if len(train.trainable()):
        return None
    count, boxed = len(objects), int(objects.boxed.sum())
    none = f"{train.path}: none of its {count:,} annotations has a shape to learn"
    if boxed and not objects.masked.any():
        return (
            f"{none}: {boxed:,} have a box only, and this task trains Mask R-CNN, which learns boxes and masks; "
            "annotate shapes, or write each box as a polygon of its four corners (then the masks are rectangles)"
        )
    advice = 'give annotations with a "segmentation", polygons or run lengths, that are no crowds (iscrowd 0)'
    return f"{none}; {advice}"


def nothing_to_evaluate(val: CocoFile) -> str | None:
    """Returns one line if the validation split has no object, so that every AP would be NaN."""
    objects = val.objects
    if ((objects.masked | objects.boxed) & ~objects.crowd).any():
        return None
    none = (
        f"{val.path}: none of its {len(objects):,} annotations is an object with a shape or a box, so AP has no value"
    )
    return f"{none}; give annotations that are no crowds (iscrowd 0)"
