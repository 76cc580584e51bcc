"""The data of a plan: what lies in a folder, or what the published data set has."""

from dataclasses import dataclass
from types import ModuleType

from maekit.base.data import TransferData
from maekit.base.spec import DataSpec
from maekit.recipes.settings import Settings


@dataclass(frozen=True)
class Images:
    """What a plan needs to know of the data.

    Attributes:
        spec: classes and image size.
        train: training images; None where that is not known.
        val: validation images.
        origin: where these facts are from.
    """

    spec: DataSpec
    train: int | None
    val: int | None
    origin: str


def images_of(module: ModuleType, settings: Settings) -> Images:
    """Returns the facts of `--data.root`, a table or made data; of the published data set where none is given.

    Raises:
        UserError: the folder cannot be read, or a setting is out of range.
    """
    values = settings.values["data"]
    data: TransferData = module.Data(**values)
    if any(values.get(name) is not None for name in ("root", "synthetic", "table")):
        data.setup()
        return Images(data.spec(), len(data.train_dataset(0)), len(data.val_dataset()), data.summary())
    spec = data.assumed_spec()
    counts = type(data).published_counts
    names = spec.class_names or spec.value_names
    kind = "value" if spec.target == "values" and len(names) == 1 else spec.target
    classes = f"{len(names):,} {kind}" if names else "no classes"
    if counts is None:
        return Images(spec, None, None, f"assumed: {classes}; give --data.root for your own")
    train, val = counts
    origin = f"assumed, as published: {train:,} training and {val:,} validation images, {classes}; or give --data.root"
    return Images(spec, train, val, origin)
