"""The training images of a folder, whatever their task."""

from pathlib import Path

from maekit.data.folders.file_names import EXPECTED_IMAGES
from maekit.data.folders.layout import require_folder
from maekit.data.folders.listing import image_names
from maekit.data.folders.splits import find_split
from maekit.errors import UserError


def training_files(root: Path) -> list[str]:
    """Returns the paths of all images below the folder's `train`, or below the folder itself where it has none.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    require_folder(root)
    folder = find_split(root, "train") or root
    names = image_names(folder)
    if not names:
        raise UserError(f"{folder}: no images in it, {EXPECTED_IMAGES} at any depth; give --root")
    return [f"{folder}/{name}" for name in names]
