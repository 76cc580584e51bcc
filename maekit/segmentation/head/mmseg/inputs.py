"""Which maps of a ViT each decode head of mmsegmentation is given, and the arguments that follow from them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor

from maekit.errors import UserError

Kind = Literal["pyramid", "taps", "tokens", "joined", "two", "last"]
# Heads of several maps, by what mmsegmentation's own configurations give them; every other one takes one map.
_KINDS: Mapping[str, Kind] = {
    "UPerHead": "pyramid",
    "SegformerHead": "pyramid",
    "FPNHead": "pyramid",
    "LightHamHead": "pyramid",
    "SETRMLAHead": "taps",
    "EncHead": "taps",
    "ANNHead": "two",
    "DPTHead": "tokens",
}
_COUNT: Mapping[Kind, int] = {"pyramid": 4, "tokens": 4}
_INDEX: Mapping[Kind, int | list[int]] = {"two": [-2, -1], "last": -1}


class Maps(NamedTuple):
    """What a backbone gives.

    Attributes:
        num_maps: maps [B, D, h, w], one a tap.
        embed_dim: D.
        patch_size: side of a patch in pixels.
        grid: h and w.
        class_token: whether class tokens [B, D] follow the maps, one a map.
    """

    num_maps: int
    embed_dim: int
    patch_size: int
    grid: tuple[int, int]
    class_token: bool = False


def kind_of(name: str, args: Mapping[str, Any], maps: Maps) -> Kind:
    """Returns what a head takes of the maps.

    `pyramid`: FourScales of four; `taps`: all of them; `tokens`: each with its class token; `joined`: all of them,
    which the head concatenates; `two` and `last`: all are given, and the last two or the last one is taken.

    Raises:
        UserError: there are not as many maps, or no class token that is to be read out.
    """
    kind = _KINDS.get(name, "last")
    transform = args.get("input_transform")
    if transform is not None and kind == "last":
        if transform != "resize_concat":
            raise UserError(
                f"model.head_args.input_transform: got {transform}, expected resize_concat, which joins the maps of "
                f"all taps, or none: {name} takes one map"
            )
        kind = "joined"
    if maps.num_maps != _COUNT.get(kind, maps.num_maps):
        raise UserError(
            f"model.head: got mmseg:{name}, which takes {_COUNT[kind]} maps, expected a head for the {maps.num_maps} "
            "that there are; give --model.taps of as many blocks (a task without that flag has one map), or a head"
        )
    if kind == "tokens" and not maps.class_token and args.get("readout_type", "ignore") != "ignore":
        raise UserError(
            f"model.head_args.readout_type: got {args['readout_type']}, expected ignore: the backbone has no "
            "class token"
        )
    return kind


def derived_arguments(kind: Kind, parameters: Mapping[str, object], maps: Maps) -> dict[str, tuple[object, str]]:
    """Returns the arguments of a head that follow from its maps, each with where it is from."""
    width = maps.embed_dim
    index = _INDEX.get(kind, list(range(maps.num_maps)))
    found: dict[str, tuple[object, str]] = {
        "in_channels": (width if isinstance(index, int) else [width] * len(index), "the backbone's width"),
        "in_index": (index, "the maps of model.taps"),
    }
    if kind == "tokens":
        found["embed_dims"] = (width, "the backbone's width")
        found["patch_size"] = (maps.patch_size, "the backbone's patches")
        found["input_transform"] = ("multiple_select", "the maps of model.taps")
    if "feature_strides" in parameters:
        found["feature_strides"] = ([maps.patch_size * scale for scale in (0.25, 0.5, 1, 2)], "the pyramid")
    if "c1_in_channels" in parameters:
        found["c1_in_channels"] = (width, "the backbone's width")
    return found


def inputs_of(kind: Kind, maps: Sequence[Tensor], count: int) -> list[Any]:
    """Returns what a head's call takes, of maps (through the pyramid where it has one) and the class tokens after them.

    A head that reads no class token is given zeros where there are none: its call expects pairs.
    """
    if kind != "tokens":
        return list(maps[:count])
    tokens = maps[count:] or [image.new_zeros(image.shape[:2]) for image in maps]
    return [[image, token] for image, token in zip(maps[:count], tokens, strict=True)]
