"""Images at their full size, of which crops of objects are cut."""

from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.given_images import GivenImages

if TYPE_CHECKING:
    from PIL.Image import Image

    from maekit.base.predict_options import Croppable
    from maekit.data.images.transforms import Normalise
    from maekit.tiles.tiled_image import TiledImage


class FullPictures:
    """Gives the full-size picture of a file: of one that is open in tiles only the parts that are asked for.

    Args:
        given: knows how images are read, once `choose_reading` was called.
    """

    def __init__(self, given: GivenImages) -> None:
        self.given = given
        self.opened: TiledImage | None = None

    def open(self, image: "TiledImage") -> None:
        """Takes the image that is open in tiles now."""
        self.opened = image

    def __call__(self, file: Path) -> "Croppable":
        """Returns what can be cropped, RGB as people see it."""
        from maekit.data.images.transforms import normalise_of

        assert self.given.reading is not None, "choose_reading comes first"
        normalise = normalise_of(self.given.input)
        if self.opened is not None and self.opened.path == file:
            return _Parts(self.opened, normalise)
        return normalise.picture(self.given.reading(file))


class _Parts:
    """A picture of an open `TiledImage` that is read where it is cropped."""

    def __init__(self, image: "TiledImage", normalise: "Normalise") -> None:
        self.image, self.normalise = image, normalise
        self.height, self.width = image.size

    def crop(self, box: tuple[int, int, int, int]) -> "Image":
        """Returns the part within left, top, right and bottom."""
        from maekit.tiles.region import Region

        left, top, right, bottom = box
        return self.normalise.picture(self.image.read(Region(top, left, bottom, right)))
