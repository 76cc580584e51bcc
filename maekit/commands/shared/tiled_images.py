"""Images that `maekit predict` looks at in tiles: the flags, which images these are, and the loop over them."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.base.tile_options import TileOptions
from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.stopwatch import Stopwatch
from maekit.errors import UserError
from maekit.system.numbers import plural
from maekit.system.terminal import on_one_line, say

if TYPE_CHECKING:
    import torch

    from maekit.base.shown import PredictionWriter, TiledPredictor
    from maekit.tiles.tiled_image import TiledImage

LEAST_SAID = 10**6  # bytes of an image that is decoded whole from which on this is said
LEAST_BYTES = 2**18  # of a file whose header is looked at: a smaller one holds no image above the limit


def add_tile_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --tile, --overlap and --scale."""
    parser.add_argument(
        "--tile",
        type=int,
        help="of pixels or objects: look at every image in tiles of this side, in pixels of the file; default: only at "
        "images too large to be read whole",
    )
    parser.add_argument("--overlap", type=int, help="with tiles: pixels of the file that neighbours share")
    parser.add_argument(
        "--scale", type=float, help="with tiles: factor by which the model sees the file's pixels enlarged; default: 1"
    )


@dataclass(frozen=True)
class TiledImages:
    """The images that are looked at in tiles.

    Attributes:
        files: in the order in which they were given.
        predictor: of them.
        notice: why these, and how they are looked at.
    """

    files: Sequence[Path]
    predictor: "TiledPredictor"
    notice: str


def choose_tiled(
    options: TileOptions,
    tiled: "Callable[[TileOptions], TiledPredictor | None]",
    files: Sequence[Path],
    given: GivenImages,
) -> TiledImages | None:
    """Returns the images that are looked at in tiles; None if there are none.

    These are all images where --tile, --overlap or --scale is given. Else they are those with more pixels than are read
    whole, which could not be predicted otherwise.

    Args:
        options: the flags' values.
        tiled: makes the predictor.
        files: all images.
        given: knows how images are read.

    Raises:
        UserError: an option does not fit the model, or the task gives one result an image.
    """
    asked = options != TileOptions()
    chosen = list(files) if asked else _too_large(files, given)
    if not chosen:
        return None
    predictor = tiled(options)
    if predictor is None:
        if asked:
            raise UserError(
                "--tile, --overlap and --scale: this model gives one result an image, expected one of pixels or of "
                "objects; leave them out"
            )
        return None
    why = "" if asked else f"{plural(len(chosen), 'image')} with too many pixels to be read whole: "
    return TiledImages(chosen, predictor, f"tiles   {why}{predictor.words}")


def _too_large(files: Sequence[Path], given: GivenImages) -> list[Path]:
    from maekit.data.images.decode import UPRIGHT, pixel_limit
    from maekit.tiles.open import stored_size

    def is_too_large(file: Path, limit: int) -> bool:
        try:
            if file.stat().st_size < LEAST_BYTES:
                return False
            height, width = stored_size(file, given.reading or UPRIGHT)
        except (UserError, OSError):  # reading it raises the error again, in one line
            return False
        return height * width > limit

    limit = pixel_limit()
    return [] if limit is None else [file for file in files if is_too_large(file, limit)]


def predict_tiled(
    tiled: TiledImages,
    writer: "PredictionWriter",
    given: GivenImages,
    folder: Path,
    device: "torch.device",
    opened: "Callable[[TiledImage], None]",
    watch: Stopwatch,
) -> int:
    """Predicts and writes images in tiles; leaves out those that cannot be read to their end. Returns how many it did.

    Args:
        tiled: the images.
        writer: of the predictions.
        given: knows how images are read, and keeps what is left out.
        folder: of the results.
        device: of the model.
        opened: is told of each image while it is open.
        watch: counts the reading of tiles as the model's time, since they are read in turn.
    """
    from maekit.data.images.decode import UPRIGHT
    from maekit.tiles.open import open_tiled

    say(tiled.notice)
    done = 0
    for file in tiled.files:
        with ExitStack() as stack:
            try:
                image = stack.enter_context(open_tiled(file, given.reading or UPRIGHT))
                say(_line(image))
                picture, found = stack.enter_context(tiled.predictor.predict(image, folder, device))
            except UserError as error:
                given.leave_out(file, str(error))
                continue
            watch.lap("model")
            opened(image)
            writer.write(file, picture, found)
            watch.lap("writing")
            done += 1
    return done


def _line(image: "TiledImage") -> str:
    whole = f", decoded whole ({image.decoded / 1e6:,.0f} MB)" if image.decoded >= LEAST_SAID else ""
    notices = "".join(f"; {notice}" for notice in image.notices)
    size = f"{image.size.width:,} x {image.size.height:,} pixels"
    return f"        {on_one_line(str(image.path))}: {size}{whole}{notices}"
