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
    """Returns the facts of `--data.root` or made data; of the published data set where neither is given.

    Raises:
        UserError: the folder cannot be read, or a setting is out of range.
    """
    values = settings.values["data"]
    data: TransferData = module.Data(**values)
    if values.get("root") is not None or values.get("synthetic") is not None:
        data.setup()
        return Images(data.spec(), len(data.train_dataset(0)), len(data.val_dataset()), data.summary())
    spec = data.assumed_spec()
    counts = type(data).published_counts
    classes = f"{len(spec.class_names):,} {spec.target}" if spec.class_names else "no classes"
    if counts is None:
        return Images(spec, None, None, f"assumed: {classes}; give --data.root for your own")
    train, val = counts
    origin = f"assumed, as published: {train:,} training and {val:,} validation images, {classes}; or give --data.root"
    return Images(spec, train, val, origin)
