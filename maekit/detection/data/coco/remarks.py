"""What is wrong or odd with a COCO data set: problems stop a run, remarks do not, such as what is left out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from maekit.data.folders.alike import case_note, same_names
from maekit.detection.data.coco.boxes import beyond, compare_boxes
from maekit.detection.data.coco.file import CocoFile
from maekit.detection.data.coco.layout import Part, read_part
from maekit.detection.data.coco.shared_images import shared_images
from maekit.errors import UserError

Masks = bool | Literal["auto"]
BOXES_ONLY = (
    "no training object has a shape, so boxes alone are learned and measured (Faster R-CNN, no mask AP); "
    "--data.masks true asks for shapes"
)


def with_masks(train: CocoFile, val: CocoFile, masks: Masks) -> tuple[CocoFile, CocoFile]:
    """Returns both splits with what is learned of them, shapes or boxes alone.

    Args:
        train: the training split.
        val: the validation split.
        masks: value of the flag `--data.masks`; auto: boxes alone where no training object has a shape.
    """
    objects = train.objects
    shaped, boxed = ((part & ~objects.crowd).any() for part in (objects.masked, objects.boxed))
    if masks == "auto" and boxed and not shaped:
        train, masks = replace(train, notes=(*train.notes, BOXES_ONLY)), False
    return replace(train, masks=masks is not False), replace(val, masks=masks is not False)


def read_parts(parts: Sequence[Part], root: Path | None, *, masks: Masks = "auto") -> tuple[CocoFile, CocoFile]:
    """Reads both splits, and checks that their images exist, that their categories agree and that there are objects.

    Args:
        parts: both splits.
        root: the data folder, for hints; None if the flags give whole paths.
        masks: value of the flag `--data.masks`.

    Raises:
        UserError: with the first thing that is wrong.
    """
    read = [_read_whole(part, root) for part in reversed(parts)]  # the short one first
    train, val = with_masks(read[1], read[0], masks)
    problems = [
        *map(absent_images, (train, val)),
        *map(wrong_boxes, (train, val)),
        other_categories(train, val),
        *same_names(train.categories.values(), train.path),
        nothing_to_learn(train),
        nothing_to_evaluate(val),
    ]
    for problem in filter(None, problems):
        raise UserError(problem)
    return train, val


def _read_whole(part: Part, root: Path | None) -> CocoFile:
    file, problems = read_part(part, root)
    if file is None or problems:
        raise UserError(problems[0])
    return file


def remarks(train: CocoFile, val: CocoFile) -> list[str]:
    """Returns one line for each oddity; `data check`, `fit` and `validate` print the same ones."""
    shared = shared_images(train, val).line()
    return [*_trained(train), *_evaluated(val), *_files(train, val), *([shared] if shared else [])]


def _trained(train: CocoFile) -> list[str]:
    objects, lines = train.objects, []
    crowds, boxed = int((objects.crowd & objects.masked).sum()), int(objects.boxed.sum())
    if crowds:
        lines.append(f"training leaves out {_of(crowds, train)} that are crowds (iscrowd 1)")
    if boxed and train.masks:
        advice = "--data.masks false trains boxes alone, on all"
        lines.append(f"training leaves out {_of(boxed, train)} that have a box and no shape ({advice})")
    used = set(np.unique(objects.category_ids).tolist())
    empty = [name for ident, name in train.categories.items() if ident not in used]
    if empty:
        more = f" and {len(empty) - 5:,} more" if empty[5:] else ""
        lines.append(f"no training object of {', '.join(empty[:5])}{more}")
    alike = case_note(train.categories.values())
    return [*lines, alike] if alike else lines


def _evaluated(val: CocoFile) -> list[str]:
    objects, lines = val.objects, []
    crowds, boxed = int((objects.crowd & (objects.masked | objects.boxed)).sum()), int(objects.boxed.sum())
    if crowds:
        lines.append(f"evaluation ignores {_of(crowds, val)} that are crowds (iscrowd 1), and what is found on them")
    if boxed and val.masks:
        rule = "by box AP, mask AP ignores their boxes"
        lines.append(f"evaluation counts {_of(boxed, val)} that have a box and no shape {rule}")
    return lines


def _files(*files: CocoFile) -> list[str]:
    lines = []
    for file in files:
        useless = file.remarks.unlisted.count + file.remarks.shapeless.count - int(file.objects.boxed.sum())
        compared = compare_boxes(file.objects, file.sizes)
        apart = int(compared.apart.sum()) if compared.form is None else 0
        outside = int(compared.outside.sum())
        over = int((beyond(file.objects, file.sizes) & ~compared.outside).sum())
        near, again = file.found.near, _repeated(file)
        found = [
            (useless, f"{useless:,} annotations without an image, or without box and shape, are left out"),
            (apart, f"{apart:,} bboxes are not around their shapes"),
            (outside, f"{outside:,} shapes lie outside their image: training leaves them out, evaluation counts them"),
            (over, f"{over:,} boxes reach beyond their image: training cuts them, evaluation takes them as they are"),
            (near.count, f"{near.count:,} images have other names on disk (the first: {near.first})"),
            (again, f"{again:,} annotations repeat another one: the same image, category and bbox"),
            (file.found.repeated, f"{file.found.repeated:,} images are listed again under another id"),
            (file.sized, f"the sizes of {file.sized:,} images are missing and were read from the images"),
            (len(file.roots), f"{_named(file.roots)} only groups others and has no object, so it is no class"),
        ]
        lines += [f"{file.path.name}: {line}" for count, line in found if count]
        lines += [f"{file.path.name}: {line}" for line in file.notes]
    return lines


def _repeated(file: CocoFile) -> int:
    objects = file.objects
    known = objects.boxes[:, 0] == objects.boxes[:, 0]  # not NaN
    rows = np.column_stack([objects.image, objects.category_ids, objects.boxes])[known & (objects.image >= 0)]
    return len(rows) - len(np.unique(rows, axis=0))


def _named(roots: dict[int, str]) -> str:
    return " and ".join(f"category {ident} {name!r}" for ident, name in roots.items())


def _of(count: int, file: CocoFile) -> str:
    return f"{count:,} of {len(file.objects):,} annotations"


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
    none = f"{train.path}: none of its {count:,} annotations has a {'shape' if train.masks else 'box'} to learn"
    if boxed and not objects.masked.any():
        return (
            f"{none}: {boxed:,} have a box only, and data.masks is true; give --data.masks false (or leave it out) to "
            "train boxes alone, or annotate shapes"
        )
    what = 'a "segmentation", polygons or run lengths,' if train.masks else 'a "bbox"'
    advice = f"give annotations with {what} that are no crowds (iscrowd 0)"
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
