"""What a decode head of mmsegmentation is made of: its class by name, and its arguments, checked before it is built."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from maekit.errors import UserError, nearest
from maekit.segmentation.head.mmseg.library import mmseg_module
from maekit.system.remarks import without_remarks

PREFIX = "mmseg:"
# Arguments of every head that a run decides elsewhere.
_ELSEWHERE = {
    "in_channels": "the backbone's width",
    "in_index": "the maps of model.taps",
    "num_classes": "the data's classes",
    "out_channels": "the data's classes",
    "threshold": "the data's classes",
    "align_corners": "maekit resizes with align_corners false, as the losses do",
    "ignore_index": "the data's label of ignored pixels",
    "loss_decode": "the losses are maekit's (model.class_weights weighs the classes)",
    "sampler": "the losses are maekit's, over all pixels",
    "channels": "--model.head_channels",
    "dropout_ratio": "--model.dropout",
    "init_cfg": "--model.classifier_std for the classifier, and the head's own for the rest",
}
# Heads that classify pixels by other things than one map or a pyramid of maps.
_OTHERS = {
    "DDRHead": "made for the two branches of DDRNet",
    "IterativeDecodeHead": "made to refine the kernels of another head",
    "LRASPPHead": "made for three maps of MobileNet, of different widths",
    "PIDHead": "made for the three branches of PIDNet",
    "SideAdapterCLIPHead": "made for CLIP with text",
    "VPDDepthHead": "made for depth",
}
_TYPES: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "text"),
    tuple: ((list, tuple), "a list"),
    list: ((list, tuple), "a list"),
    dict: ((dict,), "a mapping, as {type: BN}"),
}


class HeadClass(NamedTuple):
    """A decode head's class.

    Attributes:
        name: as mmsegmentation has it.
        cls: the class.
        parameters: of its constructor and its bases', by name.
    """

    name: str
    cls: type
    parameters: Mapping[str, inspect.Parameter]


def find_head(word: str) -> HeadClass:
    """Returns the class that a word such as mmseg:UPerHead means.

    Raises:
        UserError: mmsegmentation is not installed, or has no such decode head.
    """
    name = word.removeprefix(PREFIX)
    heads, base = mmseg_module("mmseg.models.decode_heads"), mmseg_module("mmseg.models.decode_heads.decode_head")
    known = {key: value for key, value in vars(heads).items() if inspect.isclass(value) and key in heads.__all__}
    if name not in known:
        names = ", ".join(sorted(known))
        raise UserError(f"model.head: got {word}, expected {PREFIX} and one of {names}{nearest(name, known)}")
    why = _OTHERS.get(name)
    if not issubclass(known[name], base.BaseDecodeHead):
        why = "whose outputs are not the logits of pixels"
    elif issubclass(known[name], mmseg_module("mmseg.models.decode_heads.cascade_decode_head").BaseCascadeDecodeHead):
        why = "made to refine another head's logits"
    if why:
        raise UserError(
            f"model.head: got {word}, {why}, expected a head that makes logits of the backbone's maps; give another, "
            f"such as {PREFIX}UPerHead"
        )
    return HeadClass(name, known[name], _parameters(known[name], base.BaseDecodeHead))


def check_arguments(head: HeadClass, given: Mapping[str, Any], derived: Mapping[str, str]) -> None:
    """Refuses arguments that a head does not have, that follow from elsewhere, or whose type is another.

    Args:
        head: whose arguments they are.
        given: by name, plain values of a recipe.
        derived: the names of further arguments that maekit gives itself, with where they are from.

    Raises:
        UserError: names the argument, and the nearest one where there is none of that name.
    """
    elsewhere = {name: why for name, why in {**_ELSEWHERE, **derived}.items() if name in head.parameters}
    free = [name for name in head.parameters if name not in elsewhere]
    for name, value in given.items():
        key = f"model.head_args.{name}"
        if name in elsewhere:
            raise UserError(f"{key}: got {value}, expected none: it is decided by {elsewhere[name]}; leave it out")
        if name not in free:
            known = f"{head.name} takes {', '.join(free)}"
            raise UserError(f"{key}: got an argument that {head.name} has not{nearest(name, free)} ({known})")
        _check_type(key, value, head.parameters[name].default)
        _check_layer(key, value)
    missing = [n for n in free if n not in given and head.parameters[n].default is inspect.Parameter.empty]
    if missing:
        raise UserError(
            f"model.head_args: got no {missing[0]}, which {head.name} needs; add --model.head_args.{missing[0]} VALUE"
        )


def _check_type(key: str, value: object, default: object) -> None:
    """Compares a value with the default's type; None, as either, goes with everything."""
    kinds, words = _TYPES.get(type(default), ((object,), ""))
    wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds)
    if value is not None and wrong:
        raise UserError(f"{key}: got {value!r}, expected {words}, as its default {default!r}")


def _check_layer(key: str, value: object) -> None:
    """Refuses the configuration of a layer that is not known, or that a run decides."""
    if not isinstance(value, Mapping) or "type" not in value:
        return
    if "SyncBN" in str(value["type"]):
        raise UserError(
            f"{key}: got {value['type']}, expected BN: --trainer.sync_batchnorm decides whether processes join their "
            "statistics; give {type: BN}"
        )
    with without_remarks():
        layers = mmseg_module("mmengine.registry").MODELS
        known = layers.get(str(value["type"])) is not None
    if not known:
        hint = nearest(str(value["type"]), layers.module_dict)
        raise UserError(f"{key}.type: got {value['type']}, expected a layer that mmcv knows, as BN, GN or ReLU{hint}")


def _parameters(cls: type, base: type) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a constructor, and of its bases' as far as `base`, to which it hands the rest on."""
    found: dict[str, inspect.Parameter] = {}
    for each in cls.__mro__[: cls.__mro__.index(base) + 1]:
        if "__init__" not in vars(each):
            continue
        own = list(inspect.signature(vars(each)["__init__"]).parameters.values())[1:]
        named = [p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        found |= {p.name: p for p in named if p.name not in found}
        if len(named) == len(own):
            break
    return found
