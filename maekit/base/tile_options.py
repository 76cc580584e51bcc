"""How `maekit predict` looks at images in tiles."""

from dataclasses import dataclass

from maekit.errors import UserError


@dataclass(frozen=True)
class TileOptions:
    """The choices for images that are predicted in tiles; None for the task's own.

    Attributes:
        tile: side of a tile in pixels of the file.
        overlap: pixels of the file that neighbours share, less than a tile.
        scale: factor by which the model sees the file's pixels enlarged, above 0.

    Raises:
        UserError: a value is out of range.
    """

    tile: int | None = None
    overlap: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        """Refuses values outside their range, with the flag's name."""
        if self.tile is not None and self.tile < 1:
            raise UserError(f"--tile: got {self.tile}, expected 1 pixel or more, such as 1024")
        if self.overlap is not None and self.overlap < 0:
            raise UserError(f"--overlap: got {self.overlap}, expected 0 pixels or more, such as 128")
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise UserError(f"--scale: got {self.scale:g}, expected a factor above 0, such as 0.5")
