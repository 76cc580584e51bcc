"""What stands in for real weights, data and hours when the commands of a page are run: small ones of the same form."""

import json
import os
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

# Words of the pages -> what is run. Official weights and the recipes of Base, Large and Huge are too large for a test.
WORDS = {
    **{f"mae_vit_{size}{kind}": "mae_vit_smoke" for size in ("base", "large", "huge") for kind in ("", "_full")},
    "base": "smoke",
    "large": "smoke",
    "huge": "smoke",
}
# Flags and actions before a word that is looked up; after others such a word stays.
AFTER = (
    "--recipe", "--model.weights", "--weights", "--trainer.max_steps", "--trainer.val_check_interval",
    "inspect", "convert", "export",
)  # fmt: skip
# Flags that a command gets where a page does not give them: few steps, few images, threads that tests share.
FEW = {  # the recipe few of a task is run as it is, on small images
    "imagenet_finetune": "--data.image_size 32",
    "imagenet_linprobe": "--data.image_size 32",
    "multilabel_finetune": "--data.image_size 32",
    "ordinal_finetune": "--data.image_size 32",
    "regression_finetune": "--data.image_size 32",
    "ade20k_upernet": "--data.crop_size 64 --data.resize [64,64] --model.window_stride 42 --model.taps [0,1,2,3]",
    "coco_maskrcnn": "--data.image_size 64 --model.global_blocks [1,3] --model.taps [3] --model.window 3 "
    "--model.pyramid_channels 32 --model.mask_rcnn.head_channels 32 --model.mask_rcnn.fc_channels 128 "
    "--model.mask_rcnn.rpn_pre_nms [100,100] --model.mask_rcnn.rpn_post_nms [50,50] --model.mask_rcnn.roi_batch 16",
}
FLAGS = {"fit": "--trainer.max_steps 3 --trainer.limit_val_batches 2 --data.num_workers 0"}


class Page(NamedTuple):
    """How one page is run.

    Attributes:
        toys: folders and files that the page's folder holds before its first command, by the names of `toys.py`.
        flags: command -> flags that it gets too, instead of `FLAGS`.
        words: words that stand for others on this page, beside `WORDS`.
    """

    toys: tuple[str, ...] = ()
    flags: dict[str, str] = {}
    words: dict[str, str] = {}


def variables(page: Page) -> dict[str, str]:
    """What tells the commands of a page its stand-ins, as environment variables."""
    return {"MAEKIT_TEST_PAGE": json.dumps([{**FLAGS, **page.flags}, {**WORDS, **page.words}])}


def stand_in(words: Sequence[str]) -> list[str]:
    """The command line that is run for one that was typed on a page."""
    flags, known = json.loads(os.environ["MAEKIT_TEST_PAGE"])
    run = [_word(list(words), index, known) for index in range(len(words))]
    more = shlex.split(flags.get(words[0] if words else "", ""))
    if _value(run, "--recipe") == "few":
        more += shlex.split(FEW[_value(run, "--task")])
    resumed = any(word.startswith("--ckpt_path") for word in run)
    for flag, value in zip(more[::2], more[1::2], strict=True):
        if not resumed and not any(word.split("=")[0] == flag for word in run):
            run += [flag, value]
    return run


def _value(words: list[str], flag: str) -> str:
    """What stands after a flag, else nothing."""
    return words[words.index(flag) + 1] if flag in words else ""


def _word(words: list[str], index: int, known: dict[str, str]) -> str:
    words[index] = re.sub(r"^(runs/\w+)/(base|large|huge)\b", r"\1/smoke", words[index])  # of a run that was replaced
    flag, equals, value = words[index].partition("=")
    if equals and flag in AFTER:
        return f"{flag}={known.get(value, value)}"
    return known.get(words[index], words[index]) if index and words[index - 1] in AFTER else words[index]
