"""One image, and a class name, in a size for people."""

from PIL import Image

VIEW, SMALLEST = 320, 192  # longest sides in pixels, at most and at least
_NAME = 40


def single_view(image: Image.Image) -> Image.Image:
    """Returns one image for people: at most 320 pixels, and a small one enlarged by a whole factor to 192 or less."""
    factor = SMALLEST // max(image.size)
    if factor > 1:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    view = image.copy()
    view.thumbnail((VIEW, VIEW), Image.Resampling.LANCZOS)
    return view


def short_name(name: str) -> str:
    """Returns a class name that leaves a caption readable."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
