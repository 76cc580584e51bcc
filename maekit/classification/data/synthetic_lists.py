"""The handwritten digits in the forms of data sets that come as lists of images."""

import json
from hashlib import blake2b
from pathlib import Path

from maekit.data.digits import DIGITS, IMAGE_SIZE, Digit, digits

INATURALIST = "digits-inaturalist-v1"
PLACES = "digits-places-v1"


def write_inaturalist(folder: Path) -> None:
    """Fills a folder with the digits in the form of iNaturalist 2018.

    `train2018.json` and `val2018.json` label `train_val2018/<supercategory>/<category id>/<hash>.jpg`. A category is a
    digit, its supercategory `Even` or `Odd`; the id of an image is its place in scikit-learn's list.
    """
    listed: dict[bool, list[Digit]] = {False: [], True: []}
    for digit in digits():
        digit.save(folder / _photo(digit))
        listed[digit.in_val].append(digit)
    for in_val, name in ((False, "train2018.json"), (True, "val2018.json")):
        (folder / name).write_text(json.dumps(_annotations(listed[in_val])), encoding="utf-8")


def write_places(folder: Path) -> None:
    """Fills a folder with the digits in the form of Places365-standard, its 256 px copy.

    `places365_train_standard.txt` lists `/z/zero/00000017.jpg 0` of `data_256_standard`, `places365_val.txt` lists
    `Places365_val_00000018.jpg 3` of `val_256`; `categories_places365.txt` names the classes. Numbers count
    scikit-learn's list from 1.
    """
    lines: dict[bool, list[str]] = {False: [], True: []}
    for digit in digits():
        number = f"{digit.sample + 1:08}.jpg"
        name = f"Places365_val_{number}" if digit.in_val else f"{_category(digit.label)}/{number}"
        digit.save(folder / ("val_256" if digit.in_val else "data_256_standard") / name.lstrip("/"))
        lines[digit.in_val].append(f"{name} {digit.label}\n")
    for name, text in (
        ("places365_train_standard.txt", lines[False]),
        ("places365_val.txt", lines[True]),
        ("categories_places365.txt", [f"{_category(label)} {label}\n" for label in range(len(DIGITS))]),
    ):
        (folder / name).write_text("".join(text), encoding="utf-8")


def _category(label: int) -> str:
    return f"/{DIGITS[label][0]}/{DIGITS[label]}"


def _supercategory(label: int) -> str:
    return "Odd" if label % 2 else "Even"


def _photo(digit: Digit) -> str:
    photo = blake2b(b"%d" % digit.sample, digest_size=16).hexdigest()
    return f"train_val2018/{_supercategory(digit.label)}/{digit.label}/{photo}.jpg"


def _annotations(listed: list[Digit]) -> dict[str, object]:
    source = "scikit-learn's handwritten digits"
    images = [
        {"id": d.sample, "width": IMAGE_SIZE, "height": IMAGE_SIZE, "file_name": _photo(d), "license": 0}
        for d in listed
    ]
    return {
        "info": {"year": 2018, "description": source},
        "images": [{**image, "rights_holder": source} for image in images],
        "licenses": [{"id": 0, "name": "BSD 3-Clause", "url": ""}],
        "annotations": [{"id": d.sample, "image_id": d.sample, "category_id": d.label} for d in listed],
        "categories": [
            {"id": label, "name": name, "supercategory": _supercategory(label)} for label, name in enumerate(DIGITS)
        ],
    }
