"""`maekit pca`: draw the features of patches in colour, the same colours for all images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.flags import add_moved_images_argument, check_least, check_moved_images
from maekit.commands.shared.output import refuse_results_among_images
from maekit.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from maekit.features.patches.colours import FolderColours
    from maekit.features.patches.folder import PatchFolder

FORWARDS = False
_LARGE, _SMALL, _PAIRS_A_ROW = 384, 160, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "features", type=Path, metavar="DIR", help="features of patches, which `maekit embed --patches` wrote"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of overview.png and of pictures/, one an image; outside the images' folder",
    )
    parser.add_argument(
        "--foreground",
        nargs="?",
        const="auto",
        choices=("auto", "positive", "negative"),
        help="colour only the patches on one side of the first component, by components of their own, as DINOv2's "
        "figures do (arXiv 2304.07193); auto: the side that is rarer at the images' borders",
    )
    parser.add_argument(
        "--overview", type=int, default=24, metavar="N", help="images on overview.png, evenly chosen; default: 24"
    )
    add_moved_images_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Draws; names images that can no longer be read, whose colours are drawn alone."""
    check_least("overview", args.overview, 1)
    check_moved_images(args.images)
    from maekit.base.result_places import ResultPlaces
    from maekit.drawing.sheet import Tile, contact_sheet
    from maekit.features.patches.colours import folder_colours
    from maekit.features.patches.folder import read_patches
    from maekit.system.files import atomic_write

    folder = read_patches(args.features)
    refuse_results_among_images(args.images or Path(folder.metadata["images"]), args.output)
    colours = folder_colours(folder, args.foreground)
    if colours.foreground is not None:
        side = "above" if colours.foreground.positive else "below"
        print(f"foreground: patches {side} 0 in the first component")
    places, step = ResultPlaces(args.output / "pictures", ("",)), -(-len(folder.files) // args.overview)
    tiles: list[Tile] = []
    for index, name in enumerate(folder.files):
        image, drawn = pair(folder, index, colours, args.images)
        captions = (name,), ("not readable" if image is None else "",)
        picture = contact_sheet([Tile(image), Tile(drawn)], columns=2, title=name, side=_LARGE)
        with atomic_write(places.take(folder.image(index, args.images))[0]) as file:
            picture.save(file, "PNG")
        if index % step == 0:
            tiles += [Tile(part, words) for part, words in zip((image, drawn), captions, strict=True)]
    among = "foreground" if colours.foreground is not None else f"{len(folder.features):,} patches"
    title = f"first three principal components of the {among} of {len(folder.files):,} images"
    with atomic_write(args.output / "overview.png") as file:
        sheet = contact_sheet(tiles, columns=min(2 * _PAIRS_A_ROW, len(tiles)), title=title, side=_SMALL)
        sheet.save(file, "PNG")
    print(f"{len(folder.files):,} pictures -> {args.output / 'pictures'}, {args.output / 'overview.png'}")
    return 0


def pair(
    folder: "PatchFolder", index: int, colours: "FolderColours", moved_to: Path | None
) -> tuple["Image | None", "Image"]:
    """Returns an image, None if it can no longer be read, and its patches' colours in the same shape."""
    import numpy as np
    from PIL import Image

    from maekit.drawing.files import Seen

    drawn = colours(folder.patches(index)).reshape(*folder.grid(index), 3).numpy()
    patches = Image.fromarray((drawn * 255).round().astype(np.uint8))
    height, width = folder.size(index)
    scale = _LARGE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    try:
        image = Seen(folder.metadata["transform"])(folder.image(index, moved_to)).resize(size, Image.Resampling.BICUBIC)
    except UserError:
        image = None
    return image, patches.resize(size, Image.Resampling.NEAREST)
