"""What an evaluation found of each value: `values.json`."""

import math
from typing import TypedDict

from maekit.base.shown import evenly_spread
from maekit.base.spec import DataSpec
from maekit.classification.targets.metrics import Joined, value_errors

MOST_SHOWN = 2000


class ValueRow(TypedDict):
    """One value: its errors in the unit of the data, R2 (None where undefined), and the training images' numbers."""

    name: str
    mae: float
    rmse: float
    r2: float | None
    mean: float | None
    std: float | None


class ShownImage(TypedDict):
    """One image, by its place in the listing from 0: true and predicted values."""

    image: int
    true: list[float]
    predicted: list[float]


class Values(TypedDict):
    """The content of `values.json`: number of evaluated images, the values, and at most 2,000 of the images."""

    images: int
    values: list[ValueRow]
    shown: list[ShownImage]


def values_json(spec: DataSpec, joined: Joined) -> Values:
    """Returns the content of `values.json`.

    Args:
        spec: names, means and deviations of the values.
        joined: predicted and true values of all images.
    """
    errors = {name: numbers.tolist() for name, numbers in value_errors(joined.predicted, joined.truth).items()}
    known = len(spec.value_mean) == len(spec.value_names)
    rows = [
        ValueRow(
            name=name,
            mae=errors["mae"][place],
            rmse=errors["rmse"][place],
            r2=errors["r2"][place] if math.isfinite(errors["r2"][place]) else None,
            mean=spec.value_mean[place] if known else None,
            std=spec.value_std[place] if known else None,
        )
        for place, name in enumerate(spec.value_names)
    ]
    chosen = evenly_spread(len(joined.places), MOST_SHOWN) if len(joined.places) else []
    parts = (part[chosen].tolist() for part in (joined.places, joined.truth, joined.predicted))
    shown = [ShownImage(image=place, true=t, predicted=p) for place, t, p in zip(*parts, strict=True)]
    return Values(images=len(joined.places), values=rows, shown=shown)
