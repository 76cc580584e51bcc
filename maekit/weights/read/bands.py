"""The bands that a file's patch filters take: as its card says, else red, green and blue."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from maekit.errors import UserError
from maekit.system.plain import table
from maekit.weights.read.metadata import card_of, normalisation, recorded_input

RGB = ("R", "G", "B")
GREY = ("grey",)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # facebookresearch/mae @ efb2a80 main_pretrain.py
_CLOSE = 0.01


class Filters(NamedTuple):
    """What a file's patch filters take.

    Attributes:
        names: of the channels, in the file's order.
        recorded: whether the file names them.
        mean: of each channel, in 0..1, that it was trained with; ImageNet's where it does not say and has R, G, B.
        std: of each channel, likewise; empty: not known, as is the mean.
        note: what is unusual about them, for people; else empty.
    """

    names: tuple[str, ...]
    recorded: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    note: str = ""

    @property
    def in_order(self) -> tuple[str, ...]:
        """The names in the order that a model of these bands is given them: R, G and B first, then the others."""
        first = [name for name in RGB if name in self.names]
        return (*first, *(name for name in self.names if name not in RGB))


def recorded_bands(meta: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the names of the bands that a file records; empty where it names none."""
    places = (card_of(meta), meta, table(meta.get("config")))
    names = next((each["bands"] for each in places if each.get("bands")), ())
    if isinstance(names, str):  # metadata of a safetensors file are text
        names = names.split(",")
    if not isinstance(names, Sequence) or not all(type(name) is str for name in names):
        return ()
    return tuple(names)


def file_bands(meta: Mapping[str, object], count: int, expected: Sequence[str] = RGB) -> Filters:
    """Returns what the filters of a file take, which have `count` channels; `expected` are the model's bands.

    Raises:
        UserError: the file does not name its channels, and has neither one, three nor as many as expected; or names
            another number of them.
    """
    mean, std = normalisation(meta) or ((), ())
    if names := recorded_bands(meta):
        if len(names) != count:
            raise UserError(
                f"got patch filters of {count} channels in a file that names {len(names)} bands "
                f"({', '.join(names)}), expected as many; take another copy of the file"
            )
        known = len(mean) == count
        return Filters(names, True, tuple(mean) if known else (), tuple(std) if known else ())
    if count == len(RGB):
        if mean and _is_bgr(mean):
            note = f"its channels are B, G, R, as its mean {', '.join(f'{each:.3g}' for each in mean)} says (Caffe)"
            scale = 255 if max(mean) > 1 else 1
            return Filters(RGB[::-1], False, tuple(m / scale for m in mean), tuple(s / scale for s in std), note)
        usual = mean if len(mean) == count else IMAGENET[0]
        return Filters(RGB, False, tuple(usual), tuple(std if len(std) == count else IMAGENET[1]))
    if count == 1:
        known = len(mean) == 1
        names = tuple(expected) if len(expected) == 1 else GREY
        note = "its patch filters take one channel, a grey image"
        return Filters(names, False, tuple(mean) if known else (), tuple(std) if known else (), note)
    if count == len(expected):
        return Filters(
            tuple(expected), note=f"its {count} channels have no names: taken to be the data's, in its order"
        )
    raise UserError(
        f"got patch filters of {count} channels that the file does not name, expected {len(expected)} "
        f"({', '.join(expected)}): choose them by hand, weight[:, [PLACES]] of patch_embed.proj.weight, and save the "
        "file again"
    )


def require_readable(tensors: Mapping[str, Tensor], meta: Mapping[str, object], weights: str) -> None:
    """Refuses weights of bands other than R, G, B whose file does not say how pictures of them are read.

    Args:
        tensors: of the file, by released names.
        meta: its metadata.
        weights: what the user called it, for the error.
    """
    filters = tensors.get("patch_embed.proj.weight")
    if filters is None or filters.ndim != 4:
        return
    names = file_bands(meta, filters.shape[1]).names
    if set(names) != set(RGB) and "bands" not in recorded_input(meta):
        raise UserError(
            f"{weights} has patch filters of the bands {', '.join(names)} and does not say how files of them are read, "
            f"expected those of {', '.join(RGB)}, or a checkpoint whose input transform has `bands`"
        )


def _is_bgr(mean: Sequence[float]) -> bool:
    """Whether a mean of three channels is ImageNet's of blue, green and red, in 0..1 or in 0..255."""
    scale = 255 if max(mean) > 1 else 1
    return len(mean) == len(RGB) and all(
        abs(m / scale - own) < _CLOSE for m, own in zip(mean, IMAGENET[0][::-1], strict=True)
    )
