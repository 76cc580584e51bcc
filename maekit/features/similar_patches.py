"""Patches of other images that are like one patch: which images have them, where, and pictures of how like all are."""

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from maekit.data.images.bands.pixels import size_of
from maekit.drawing.files import Seen
from maekit.drawing.sheet import Tile, contact_sheet, named_with_folder
from maekit.errors import UserError
from maekit.features.attention_pictures import overlay
from maekit.features.extractor import Extractor
from maekit.features.patches.folder import PatchFolder
from maekit.features.patches.view import grid_of
from maekit.system.size import HeightWidth

_SIDE, _COLUMNS = 224, 6


class Place(NamedTuple):
    """A pixel of an image: from its left, and from its top."""

    x: int
    y: int


class Query(NamedTuple):
    """An image and one of its patches.

    Attributes:
        patches: [h * w, D] of all of them.
        grid: patches (h, w).
        chosen: which patch.
    """

    patches: Tensor
    grid: HeightWidth
    chosen: int


class Found(NamedTuple):
    """An image of a folder, its largest similarity, and the middle of the patch that has it."""

    image: int
    similarity: float
    place: Place


def query_of(path: Path, place: Place, extractor: Extractor) -> Query:
    """Computes the patches of an image as those of a folder were.

    Args:
        path: of the image.
        place: a pixel of it, upright.
        extractor: of the folder.

    Raises:
        UserError: the image cannot be read, or the pixel lies outside.
    """
    assert extractor.whole is not None
    image = extractor.reading(path)
    size = size_of(image)
    if not (place.x < size.width and place.y < size.height):
        raise UserError(
            f"--patch {place.x},{place.y}: outside {path}, expected X of 0 to {size.width - 1} and Y of 0 to "
            f"{size.height - 1}"
        )
    grid = grid_of(size, extractor.whole, extractor.vit.patch_size)
    chosen = place.y * grid.height // size.height * grid.width + place.x * grid.width // size.width
    return Query(extractor(extractor.view(image, grid)[None])[0], grid, chosen)


def similarities(query: Query, patches: Tensor) -> Tensor:
    """Returns the cosine similarity [N] float32 of the query's patch to features [N, D]."""
    own = torch.nn.functional.normalize(query.patches[query.chosen].float(), dim=0)
    return torch.nn.functional.normalize(patches.float(), dim=1) @ own


def nearest_images(query: Query, folder: PatchFolder, top: int, leave_out: set[int]) -> list[Found]:
    """Returns the images with the patches nearest to the query's, one patch an image, the nearest first.

    Args:
        query: the patch.
        folder: where to search; one image at a time is read.
        top: how many images.
        leave_out: images that are not searched.
    """
    found = []
    for image in range(len(folder.files)):
        if image in leave_out:
            continue
        values = similarities(query, folder.patches(image))
        best = int(values.argmax())
        grid, size = folder.grid(image), folder.size(image)
        row, column = divmod(best, grid.width)
        place = Place(
            (2 * column + 1) * size.width // (2 * grid.width), (2 * row + 1) * size.height // (2 * grid.height)
        )
        found.append(Found(image, float(values[best]), place))
    return sorted(found, key=lambda one: -one.similarity)[:top]


def sheet(query: Query, image: Path, found: list[Found], folder: PatchFolder, moved_to: Path | None) -> Image.Image:
    """Returns a sheet of the query image and of the images found, the similarity of each patch over them in colour.

    Grey is the mean over the patches of all of these images or less, light yellow the query itself, in all of them.
    """
    maps = [similarities(query, query.patches), *(similarities(query, folder.patches(one.image)) for one in found)]
    mean = float(torch.cat(maps).mean())
    grids = [query.grid, *(folder.grid(one.image) for one in found)]
    paths = [image, *(folder.image(one.image, moved_to) for one in found)]
    captions = ["query", *(f"{n}: {one.similarity:.3f}" for n, one in enumerate(found, 1))]
    seen = Seen(folder.metadata["transform"])
    tiles = []
    for values, grid, path, caption in zip(maps, grids, paths, captions, strict=True):
        try:
            picture = seen(path)
        except UserError:
            tiles.append(Tile(None, (caption, named_with_folder(path))))
            continue
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        drawn = overlay(picture, (values - mean).clamp(min=0).reshape(grid), largest=max(1 - mean, 1e-6))
        tiles.append(Tile(drawn, (caption, named_with_folder(path)), marked=path == image))
    title = "cosine similarity to the query's patch: yellow is 1, grey the mean or less"
    return contact_sheet(tiles, columns=min(_COLUMNS, len(tiles)), title=title, side=_SIDE)
