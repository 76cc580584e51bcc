"""Decides how the pictures of a data set are read, and describes it for the user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maekit.data.images.bands.choose import choose_bands
from maekit.data.images.bands.facts import Bands
from maekit.data.images.bands.flags import Asked
from maekit.data.images.bands.reading import BandReading
from maekit.data.images.decode import Reading
from maekit.data.images.reading_of import AnyReading
from maekit.data.images.survey import Survey, choose_white, survey
from maekit.errors import UserError

Orientation = Literal["auto", "upright", "stored"]
White = Literal["auto"] | float


@dataclass(frozen=True)
class PictureForm:
    """How files are read, and why.

    Attributes:
        reading: whether pictures are turned, and which value is white; or which bands are read.
        notes: parts of a sentence on all that is not plain 8-bit RGB as stored.
        jpeg_side: median of the shorter sides of sampled JPEGs in pixels; 0 where none were sampled, or few are JPEGs.
    """

    reading: AnyReading
    notes: tuple[str, ...]
    jpeg_side: int = 0

    @property
    def bands(self) -> Bands | None:
        """The bands that are read; None where pictures are read as 8-bit RGB."""
        return self.reading.bands if isinstance(self.reading, BandReading) else None


def require_white(white: White) -> None:
    """Refuses a white that is not a positive number.

    Raises:
        UserError: with the flag and the value.
    """
    if white != "auto" and not 0 < float(white) < float("inf"):
        raise UserError(f"data.white: got {white}, expected the value that is white, such as 4095, or auto")


def choose_form(
    parts: Sequence[tuple[int, Callable[[int], str]]],
    orientation: Orientation,
    white: White,
    published: str,
    asked: Asked = Asked(),  # noqa: B008 - frozen
    folder: Path = Path(),
) -> PictureForm:
    """Decides how the pictures of a data set are read, from a sample of them if the flags are `auto`.

    Args:
        parts: for each split the number of pictures and a function from index to path.
        orientation: the flag's value.
        white: the flag's value.
        published: name of the published data set that this is, whose numbers were made from pictures as they are
            stored; empty for any other data.
        asked: the flags of bands.
        folder: of the data, where their statistics are looked for.

    Raises:
        UserError: which value is white is unclear, or the bands cannot be read; see `choose_bands`.
    """
    turn = orientation == "upright" or (orientation == "auto" and not published)
    chosen = choose_bands(parts, asked, folder, upright=turn)
    if chosen.reading is not None:
        if white != "auto":
            raise UserError(
                f"got data.white {white} beside bands, which are read in the unit of their files; leave it out"
            )
        return PictureForm(chosen.reading, chosen.notes)
    given = None if white == "auto" else float(white)
    if published:
        kept = () if turn else (f"as stored, EXIF orientation ignored, as for {published}'s published numbers",)
        return PictureForm(Reading(turn, given, given is not None), kept)
    found = survey(parts)
    level, note = choose_white(found, given)
    lines = (*notes(found, turn), *((note,) if note else ()))
    return PictureForm(Reading(turn, level, given is not None), lines, found.jpeg_side)


def upright_form(
    parts: Sequence[tuple[int, Callable[[int], str]]],
    white: White,
    *,
    known: bool,
    asked: Asked = Asked(),  # noqa: B008 - frozen
    folder: Path = Path(),
) -> PictureForm:
    """Decides which value is white, for pictures that are always turned by their EXIF orientation.

    Args:
        parts: for each split the number of pictures and a function from index to path.
        white: the flag's value.
        known: whether these are published or made data of 8 bits; then no sample is read.
        asked: the flags of bands.
        folder: of the data, where their statistics are looked for.

    Raises:
        UserError: which value is white is unclear, or the bands cannot be read; see `choose_bands`.
    """
    if asked or not known:
        return choose_form(parts, "upright", white, "", asked, folder)
    given = None if white == "auto" else float(white)
    return PictureForm(Reading(True, given, given is not None), ())


def notes(found: Survey, turn: bool) -> tuple[str, ...]:
    """Describes a sample for the user: pictures turned or not; alpha, pages, channels and bits that are dropped.

    Args:
        found: the sample.
        turn: whether pictures are turned by their EXIF orientation.
    """
    of, lines = f"of {len(found.looks)} sampled pictures", []
    if found.turned:
        how = "are turned as their EXIF orientation says" if turn else "have an EXIF orientation, which is ignored"
        lines.append(f"{found.turned} {of} {how}")
    if found.transparent:
        lines.append(f"{found.transparent} {of} have transparent pixels, whose hidden colours are used")
    if found.more_pages:
        lines.append(
            f"{found.more_pages} {of} have several pages or frames, of which the first alone is used; --data.bands N "
            "takes the pages of a TIFF file as N bands"
        )
    if found.more_channels:
        lines.append(
            f"{found.more_channels} {of} have a channel beside their colours that is not transparency and is left out; "
            "--data.bands takes it"
        )
    if colour := found.deep("upper"):
        lines.append(f"{len(colour)} {of} have CMYK colours of 16 bits, of which the upper 8 are used")
    return tuple(lines)
