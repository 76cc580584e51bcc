"""How pictures are read for a model: as 8-bit RGB, or as the bands that it was trained on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from maekit.data.images.bands.facts import bands_of
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import Reading
from maekit.data.images.reduced_size import short_side

AnyReading = Reading | BandReading


def reading_of(input: Mapping[str, Any], white: float | None = None) -> AnyReading:
    """Returns how a user's pictures are read for a model: upright, with the white and the decoding it was trained with.

    A model of bands is given those, in the unit of the file; white is no matter there.

    Args:
        input: the input transform in a checkpoint's card.
        white: the user's value instead; brighter values are then clipped.
    """
    if bands := bands_of(input):
        return BandReading(bands)
    known, short = input.get("white"), _least(input)
    if white is None and isinstance(known, int | float):
        return Reading(True, float(known), bool(input.get("clip", False)), short)
    return Reading(True, white, white is not None, short)


def at_least(reading: AnyReading, pixels: int | None) -> AnyReading:
    """Returns a reading that decodes JPEGs no larger than needed: see `Reading.least`; bands are always read whole."""
    return replace(reading, least=pixels) if isinstance(reading, Reading) else reading


def _least(input: Mapping[str, Any]) -> int | None:
    size, fraction = input.get("image_size"), input.get("crop_fraction")
    if not input.get("reduced_decode") or not isinstance(size, int) or not isinstance(fraction, int | float):
        return None
    return short_side(size, fraction)
