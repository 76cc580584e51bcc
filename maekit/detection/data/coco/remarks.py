"""Oddities of a COCO data set that do not stop a run, such as what is left out or found under another name."""

import numpy as np

from maekit.detection.data.coco.boxes import compare_boxes
from maekit.detection.data.coco.file import CocoFile
from maekit.detection.data.coco.shared_images import shared_images


def remarks(train: CocoFile, val: CocoFile) -> list[str]:
    """Returns one line for each oddity; `data check`, `fit` and `validate` print the same ones."""
    shared = shared_images(train, val).line()
    return [*_trained(train), *_evaluated(val), *_files(train, val), *([shared] if shared else [])]


def _trained(train: CocoFile) -> list[str]:
    objects, lines = train.objects, []
    crowds, boxed = int((objects.crowd & objects.masked).sum()), int(objects.boxed.sum())
    if crowds:
        lines.append(f"training leaves out {_of(crowds, train)} that are crowds (iscrowd 1)")
    if boxed:
        lines.append(f"training leaves out {_of(boxed, train)} that have a box and no shape")
    used = set(np.unique(objects.category_ids).tolist())
    empty = [name for ident, name in train.categories.items() if ident not in used]
    if empty:
        more = f" and {len(empty) - 5:,} more" if empty[5:] else ""
        lines.append(f"no training object of {', '.join(empty[:5])}{more}")
    return lines


def _evaluated(val: CocoFile) -> list[str]:
    objects, lines = val.objects, []
    crowds, boxed = int((objects.crowd & (objects.masked | objects.boxed)).sum()), int(objects.boxed.sum())
    if crowds:
        lines.append(f"evaluation ignores {_of(crowds, val)} that are crowds (iscrowd 1), and what is found on them")
    if boxed:
        rule = "by box AP, mask AP ignores their boxes"
        lines.append(f"evaluation counts {_of(boxed, val)} that have a box and no shape {rule}")
    return lines


def _files(*files: CocoFile) -> list[str]:
    lines = []
    for file in files:
        useless = file.remarks.unlisted.count + file.remarks.shapeless.count - int(file.objects.boxed.sum())
        compared = compare_boxes(file.objects, file.sizes)
        apart = int(compared.apart.sum()) if compared.form is None else 0
        near, again = file.found.near, _repeated(file)
        found = [
            (useless, f"{useless:,} annotations without an image, or without box and shape, are left out"),
            (apart, f"{apart:,} bboxes are not around their shapes"),
            (near.count, f"{near.count:,} images have other names on disk (the first: {near.first})"),
            (again, f"{again:,} annotations repeat another one: the same image, category and bbox"),
            (file.found.repeated, f"{file.found.repeated:,} images are listed again under another id"),
            (file.sized, f"the sizes of {file.sized:,} images are missing and were read from the images"),
            (len(file.roots), f"{_named(file.roots)} only groups others and has no object, so it is no class"),
        ]
        lines += [f"{file.path.name}: {line}" for count, line in found if count]
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
