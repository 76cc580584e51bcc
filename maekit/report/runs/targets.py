"""What an evaluation found of labels and of values, and how far its probabilities can be trusted: tables and plots."""

from pathlib import Path
from typing import NotRequired, TypedDict

from maekit.report.document import Block, LineChart, Series, Table, picked
from maekit.system.numbers import number

_MOST_DOTS = 500  # of a plot: a page has two drawings of it
_MOST_LABELS = 150


class _Label(TypedDict):
    """A label's scores in 0..1, None where they are not defined, and the images that have it."""

    name: str
    images: int
    ap: float | None
    auroc: float | None
    f1: float | None
    precision: float | None
    recall: float | None


class Labels(TypedDict):
    """`labels.json`: the threshold was tuned on some images, none if it was given, and the scores are of others."""

    threshold: float
    tuned_on: int
    measured_on: int
    labels: list[_Label]


class _Value(TypedDict):
    """A value's errors in the unit of the data, and its mean and deviation over the training images."""

    name: str
    unit: NotRequired[str]
    mae: float | None
    rmse: float | None
    r2: float | None
    mean: float | None
    std: float | None


class _Image(TypedDict):
    """The values of one validation image, in the order of the names."""

    image: int
    true: list[float]
    predicted: list[float]


class Values(TypedDict):
    """`values.json`: all images were evaluated, and some of them are listed."""

    images: int
    values: list[_Value]
    shown: list[_Image]


class _Bin(TypedDict):
    """The images of an interval of confidence; means are None without images."""

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


class Reliability(TypedDict):
    """`reliability.json`."""

    calibration_error: float | None
    bins: list[_Bin]


def label_blocks(found: Labels, _: Path) -> list[Block]:
    """The scores of each label, the lowest average precision first."""
    every = sorted(found["labels"], key=lambda one: (one["ap"] is None, one["ap"] or 0.0))
    rows = tuple(
        (str(one["name"]), *(one[score] for score in ("ap", "f1", "precision", "recall", "auroc")), one["images"])
        for one in every[:_MOST_LABELS]
    )
    threshold, tuned, measured = number(found["threshold"]), found["tuned_on"], found["measured_on"]
    how = f"chosen on {tuned:,} images and measured on the {measured:,} others" if tuned else "which was given"
    note = f"F1, precision and recall are at the threshold {threshold}, {how}."
    if len(rows) < len(every):
        note = f"The lowest {len(rows)} of {len(every)} labels; labels.json has all. {note}"
    if any(row[1] is None for row in rows):
        note += " Empty: no image has the label, so no mean counts it."
    columns = ("label", "AP", "F1", "precision", "recall", "AUROC", "images")
    return [Table("labels", columns, rows, "Scores of each label, the lowest AP first", note)]


def value_blocks(found: Values, _: Path) -> list[Block]:
    """The errors of each value, and for each a plot of what was predicted over what is true."""
    rows = tuple(
        (_with_unit(one), one["mae"], one["rmse"], one["r2"], one["mean"], one["std"]) for one in found["values"]
    )
    columns = ("value", "MAE", "RMSE", "R2", "mean in training", "deviation there")
    table = Table(
        "values", columns, rows, f"Errors over {found['images']:,} validation images, in the unit of the data"
    )
    return [table, *(_scatter(found, place) for place in range(len(found["values"])))]


def _with_unit(value: _Value) -> str:
    unit = value.get("unit")
    return f"{value['name']} ({unit})" if unit else str(value["name"])


def _scatter(found: Values, place: int) -> LineChart:
    every = [(float(one["true"][place]), float(one["predicted"][place])) for one in found["shown"]]
    dots = tuple(every[at] for at in picked(len(every), _MOST_DOTS))
    ends = [end for dot in dots for end in dot]
    diagonal = ((min(ends), min(ends)), (max(ends), max(ends))) if ends else ()
    value = found["values"][place]
    few = f"{len(dots):,} of {found['images']:,} validation images. " if len(dots) < found["images"] else ""
    return LineChart(
        f"predicted_{value['name']}",
        f"Predicted and true: {value['name']}",
        f"true {_with_unit(value)}",
        f"predicted {_with_unit(value)}",
        (Series("equal", diagonal), Series("images", (), dots=dots)),
        caption=f"{few}On the line both are equal.",
    )


def reliability_blocks(found: Reliability, _: Path) -> list[Block]:
    """A reliability diagram and its numbers."""
    bins = [one for one in found["bins"] if one["images"]]
    points = tuple((float(one["confidence"] or 0), float(one["accuracy"] or 0)) for one in bins)
    error = found["calibration_error"]
    chart = LineChart(
        "reliability",
        "Reliability",
        "highest probability, mean of a bin",
        "share of images whose class is right",
        (Series("calibrated", ((0.0, 0.0), (1.0, 1.0))), Series("images", points)),
        caption=(f"Expected calibration error {number(error)}. " if error is not None else "")
        + "Below the straight line the model is surer than it is right.",
    )
    columns = ("from", "below", "images", "mean probability", "right")
    rows = tuple((one["low"], one["high"], one["images"], one["confidence"], one["accuracy"]) for one in found["bins"])
    return [chart, Table("reliability_bins", columns, rows, "Images by their highest probability")]
