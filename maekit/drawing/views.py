"""Sizes in which people look at pictures: large images shrunk, small ones enlarged with their pixels as squares."""

from PIL import Image

from maekit.system.size import HeightWidth

LARGEST = 1600  # longest side of a picture in pixels
VIEW, SMALLEST = 320, 192  # of one image: longest side in pixels, at most and at least
_NAME = 40


def view_size(image: Image.Image, *, enlarge_to: int, shrink_to: int) -> HeightWidth:
    """Returns the size at which an image is shown, in its own proportions.

    Args:
        image: of any size.
        enlarge_to: a smaller image is enlarged by the largest whole factor that keeps its longest side within this.
        shrink_to: longest side in pixels, at most.
    """
    longest = max(image.size)
    if longest > shrink_to:
        return HeightWidth(*(max(1, round(side * shrink_to / longest)) for side in (image.height, image.width)))
    factor = max(1, enlarge_to // longest)
    return HeightWidth(image.height * factor, image.width * factor)


def resized(image: Image.Image, size: HeightWidth) -> Image.Image:
    """Returns an image at a size; where it is enlarged its pixels become squares."""
    enlarged = size.height >= image.height and size.width >= image.width
    way = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return image.resize((size.width, size.height), way)


def fitted(image: Image.Image, longest: int) -> Image.Image:
    """Returns an image whose longest side is `longest` pixels or, if it was smaller, the largest multiple within."""
    return resized(image, view_size(image, enlarge_to=longest, shrink_to=longest))


def single_view(image: Image.Image) -> Image.Image:
    """Returns one image: its longest side at most 320 pixels, and if small enlarged by a whole factor within 192."""
    if max(image.size) <= VIEW:
        return resized(image, view_size(image, enlarge_to=SMALLEST, shrink_to=VIEW))
    view = image.copy()
    view.thumbnail((VIEW, VIEW), Image.Resampling.LANCZOS)
    return view


def short_name(name: str) -> str:
    """Returns a class name of at most 40 letters, which leaves a caption readable."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
