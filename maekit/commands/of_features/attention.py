"""`maekit attention`: draw where the class token looks, or all patches without one, and patch features in colour."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.commands.shared.flags import add_device_argument, add_weights_argument, parse_image_size
from maekit.commands.shared.given_images import GivenImages
from maekit.commands.shared.image_words import HELP
from maekit.commands.shared.output import refuse_results_among_images
from maekit.system.progress import tracked
from maekit.system.size import HeightWidth

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from maekit.backbone.attention_view import View

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGES", help=HELP)
    add_weights_argument(parser)
    parser.add_argument("--block", type=int, default=-1, help="the block, from 0 or from the end; default: the last")
    parser.add_argument(
        "--image_size",
        help="short side in pixels, the whole image being shown; or HEIGHTxWIDTH, as 224x320, of its centre; default: "
        "the weights' own size as the short side",
    )
    parser.add_argument(
        "--joint", action="store_true", help="colours from the principal components of all images, to compare them"
    )
    parser.add_argument("--output", type=Path, default=Path("attention"), help="folder of the pictures, a PNG an image")
    add_device_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Draws one picture for each image; names unreadable images and leaves them out."""
    size = parse_image_size(args.image_size)
    given = GivenImages()
    files = given.find_all(args.images)
    for folder in given.folders:
        refuse_results_among_images(folder, args.output)
    from maekit.base.result_places import ResultPlaces
    from maekit.features.attention_maps import PatchColours
    from maekit.features.attention_pictures import attention_picture

    viewer = _Viewer(args.weights, args.block, size, args.device, given)
    given.choose_reading(files)
    shared = PatchColours()
    if args.joint:
        readable = []
        for file, _, view in tracked(viewer.views(files), "attention: colours", len(files)):
            shared.add(view.patches[0])
            readable.append(file)
        files = readable
    places, done = ResultPlaces(args.output, ("",)), 0
    for file, image, view in tracked(viewer.views(files), "attention", len(files)):
        colours = shared if args.joint else PatchColours()
        if not args.joint:
            colours.add(view.patches[0])
        shown = colours.colours(view.patches[0]).reshape(*view.attention.shape[2:], 3)
        whose = "class token's attention" if viewer.vit.has_class_token else "mean attention of all patches"
        title = f"{file.name}: {whose} in block {viewer.block}"
        picture = attention_picture(image, view.attention[0], view.own[0], shown, title, joint=args.joint)
        picture.save(places.take(file)[0], "PNG")
        done += 1
    print(f"{done} pictures -> {args.output}{given.write_skipped(args.output)}")
    return 0 if done else 2


class _Viewer:
    """A backbone that is given one image at a time, each in its own shape."""

    def __init__(
        self, weights: str, block: int, size: int | HeightWidth | None, device: str, given: GivenImages
    ) -> None:
        from maekit.features.extractor import block_index
        from maekit.features.source import find_source
        from maekit.system.hardware import choose_device

        source, self.device = find_source(weights, whole=not isinstance(size, HeightWidth)), choose_device(device)
        for line in source.assumed:
            print(line)
        self.given = given
        given.input = {**source.input, "reduced_decode": False}  # views may be larger than the evaluation's
        self.normalise = source.transform().normalise
        self.vit = source.load(size if isinstance(size, HeightWidth) else source.input["image_size"]).to(self.device)
        if not self.vit.has_class_token:
            print(f"note: {weights} has no class token: the attention is that of all patches, on average")
        if source.mean_pooled and self.vit.has_class_token:
            print(f"note: {weights} was fine-tuned on the mean of the patches: its class token was not trained")
        self.block = block_index(self.vit, block)
        self.size = size or int(source.input["image_size"])

    def views(self, files: list[Path]) -> "Iterator[tuple[Path, Image, View]]":
        """Yields each readable file with its image as the backbone is given it, and what the block makes of it."""
        import torch

        from maekit.backbone.attention_view import View, view_block
        from maekit.features.attention_pictures import whole_view

        for file in files:
            read = self.given.read(file)
            if read is None:
                continue
            image = whole_view(read, self.size, self.vit.patch_size)
            pixels: Tensor = self.normalise(image)[None].to(self.device)
            with torch.inference_mode():
                view = view_block(self.vit, pixels, self.block)
            yield file, self.normalise.picture(image), View(*(part.cpu() for part in view))
