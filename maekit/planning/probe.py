"""How fast a device trains: a card by a share of its peak, this machine by a few steps that are run and timed."""

from types import ModuleType

from maekit.planning.costs import SHARE, Rate
from maekit.planning.devices import Devices
from maekit.planning.images import Images
from maekit.planning.plan import precision_of
from maekit.recipes.settings import Settings


def rate_of(
    module: ModuleType, settings: Settings, devices: Devices, images: Images, share: float | None
) -> Rate | None:
    """Returns the speed of one device, or None where nothing is known of it.

    Args:
        module: the task.
        settings: checked values of every section.
        devices: see `find_devices`.
        images: the data.
        share: of a card's peak; None for `SHARE`, or on this machine for a probe.
    """
    precision = precision_of(settings.values["trainer"]["precision"], devices)
    peak = devices.peak(precision)
    if peak is None:
        return None
    part = SHARE if share is None else share
    said = "given" if share is not None else "an assumption, --share replaces it"
    return Rate(part * peak, 0.0, f"{part:.0%} of the card's {peak / 1e12:g} Tflop/s ({said})")
