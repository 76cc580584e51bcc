"""`maekit similar`: find the images of a folder that are most like one image, or have a patch like one of its."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.commands.shared.flags import add_device_argument, add_moved_images_argument, check_least, check_moved_images
from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.features.files.folder import FeatureFolder

FORWARDS = False
_COLUMNS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the image to find others for")
    parser.add_argument(
        "--features", type=Path, metavar="DIR", required=True, help="a folder that `maekit embed` wrote"
    )
    parser.add_argument(
        "--patch",
        metavar="X,Y",
        help="find patches like the one at this pixel of IMAGE, from the left and from the top; the features are then "
        "those of `maekit embed --patches`, and --output shows how like each patch is",
    )
    parser.add_argument("--top", type=int, default=16, metavar="N", help="how many images to find; default: 16")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="draw them as a contact sheet into this file, such as sheet.png"
    )
    add_moved_images_argument(parser)
    parser.add_argument("--weights", help="where the weights are now, if they have moved; they must be the same")
    add_device_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Prints the nearest images with their cosine similarity, the nearest first."""
    check_least("top", args.top, 1)
    check_moved_images(args.images)
    if args.output is not None:
        check_picture(args.output)
    if not args.image.is_file():
        raise UserError(f"no image {args.image}; check the path")
    if args.patch is not None:
        return find_patches(args)
    from maekit.features.files.folder import read_features

    folder = read_features(args.features)
    refuse_among_images(args, folder.metadata["images"])
    rows = search(args, folder)
    found = [(similarity, folder.image(row, args.images)) for similarity, row in rows]
    if args.json:
        images = [{"similarity": similarity, "file": str(path)} for similarity, path in found]
        print(json.dumps({"image": str(args.image), "similar": images}))
    else:
        for similarity, path in found:
            print(f"{similarity:.4f}  {path}")
    if args.output is not None:
        draw(args.image, found, args.output, folder.metadata["transform"], quiet=args.json)
    return 0


def find_patches(args: argparse.Namespace) -> int:
    """Prints the images with the nearest patches, their similarity and the pixel in the middle of each patch."""
    place = _place(args.patch)
    from maekit.features.extractor import extractor_like
    from maekit.features.patches.folder import read_patches
    from maekit.features.similar_patches import Place, nearest_images, query_of, sheet
    from maekit.system.files import atomic_write

    folder = read_patches(args.features)
    refuse_among_images(args, folder.metadata["images"])
    query = query_of(args.image, Place(*place), extractor_like(folder.metadata, args.weights, args.device))
    paths = [folder.image(index, args.images) for index in range(len(folder.files))]
    own = {index for index, path in enumerate(paths) if path.resolve() == args.image.resolve()}
    found = nearest_images(query, folder, args.top, own)
    if args.json:
        images = [
            {"similarity": one.similarity, "file": str(paths[one.image]), "x": one.place.x, "y": one.place.y}
            for one in found
        ]
        print(json.dumps({"image": str(args.image), "x": place[0], "y": place[1], "similar": images}))
    else:
        for one in found:
            print(f"{one.similarity:.4f}  {one.place.x},{one.place.y}  {paths[one.image]}")
    if args.output is not None:
        with atomic_write(args.output) as file:
            sheet(query, args.image, found, folder, args.images).save(file, "PNG")
        if not args.json:
            print(f"-> {args.output}")
    return 0


def refuse_among_images(args: argparse.Namespace, embedded: str) -> None:
    """Refuses an --output among the images, of which the next `embed` would take it for one."""
    root = args.images or Path(embedded)
    if args.output is not None and args.output.resolve().is_relative_to(root.resolve()):
        raise UserError(f"--output {args.output}: lies among the images in {root}; choose a place outside")


def _place(given: str) -> tuple[int, int]:
    words = [word.strip() for word in given.split(",")]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise UserError(f"--patch: got '{given}', expected a pixel X,Y of the image such as 120,80")
    return int(words[0]), int(words[1])


def search(args: argparse.Namespace, folder: "FeatureFolder") -> list[tuple[float, int]]:
    """Returns similarity and row of the images nearest to the query image, without itself."""
    from maekit.features.extractor import extractor_like
    from maekit.features.neighbours.knn import nearest_neighbours

    extractor = extractor_like(folder.metadata, args.weights, args.device)
    image = extractor.reading(args.image)
    query = extractor(extractor.transform(image)[None])
    count = min(args.top + 1, len(folder.files))
    near = nearest_neighbours(query, folder.features, count)
    rows = zip(near.similarity[0].tolist(), near.rows[0].tolist(), strict=True)
    own = args.image.resolve()
    return [(value, row) for value, row in rows if folder.image(row, args.images).resolve() != own][: args.top]


def draw(image: Path, found: list[tuple[float, Path]], output: Path, input: Mapping[str, Any], *, quiet: bool) -> None:
    """Draws a contact sheet of the query image and the images found; `input` says how their files are read."""
    from maekit.drawing.files import Seen
    from maekit.drawing.sheet import Tile, contact_sheet, named_with_folder, thumbnail
    from maekit.system.files import atomic_write

    seen = Seen(input)
    tiles = [Tile(thumbnail(image, seen), ("query", image.name), marked=True)]
    tiles += [
        Tile(thumbnail(path, seen), (f"{n}: {value:.3f}", named_with_folder(path)))
        for n, (value, path) in enumerate(found, 1)
    ]
    title = f"the {len(found)} nearest images by cosine similarity, 1 at most"
    sheet = contact_sheet(tiles, columns=min(_COLUMNS, len(tiles)), title=title)
    with atomic_write(output) as file:
        sheet.save(file, "PNG")
    if not quiet:
        print(f"-> {output}")


def check_picture(path: Path) -> None:
    """Refuses a value of --output that does not end in .png, or is a folder."""
    if path.suffix.lower() != ".png" or path.is_dir():
        raise UserError(f"--output: got {path}, expected a file to draw into, such as sheet.png")
