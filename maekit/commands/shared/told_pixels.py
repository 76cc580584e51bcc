"""What a task's label maps say of patches, and how well the nearest patches tell it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.system.numbers import plural
from maekit.system.progress import tracked

if TYPE_CHECKING:
    from maekit.base.pixel_labels import PixelLabels
    from maekit.features.neighbours.knn import Neighbours
    from maekit.features.patches.folder import PatchFolder
    from maekit.features.patches.segment import Bank


@dataclass(frozen=True, eq=False)
class ToldPixels:
    """Images that are segmented by the patches of others.

    Attributes:
        labels: the label maps.
        bank: the patches that vote.
        train: the features of their images.
        val: the features of the images that are segmented.
        maps: number of each segmented image in `val`, and that of its label map.
        notes: lines for the user.
    """

    labels: "PixelLabels"
    bank: "Bank"
    train: "PatchFolder"
    val: "PatchFolder"
    maps: dict[int, int]
    notes: list[str]

    def words(self) -> str:
        """Returns what is told by what, for the user."""
        bank = f"{len(self.bank.features):,} patches of {plural(self.bank.num_images, 'image')} of {self.train.path}"
        return f"{plural(len(self.maps), 'image')} of {self.val.path} by {bank}; {len(self.labels.class_names)} classes"

    def facts(self) -> dict[str, object]:
        """Returns the same as plain values."""
        return {
            "train": str(self.train.path),
            "val": str(self.val.path),
            "num_train": self.bank.num_images,
            "num_val": len(self.maps),
            "num_patches": len(self.bank.features),
            "num_classes": len(self.labels.class_names),
        }

    def measured(
        self, counts: list[int], temperature: float | None, device: str, batch: int
    ) -> dict[int, dict[str, float]]:
        """Returns mIoU, mAcc and aAcc in percent for each number of neighbours."""
        from maekit.features.patches.segment import measure, segment
        from maekit.system.hardware import choose_device

        place, images = choose_device(device), list(self.maps)

        def search(neighbours: int) -> "Iterator[tuple[int, Neighbours]]":
            found = segment(self.val, images, self.bank, neighbours, device=place, batch=batch)
            yield from tracked(found, "knn", len(images))

        return measure(self.val, self.maps, self.bank, self.labels, counts, temperature, search)


def told_pixels(
    task: str, flags: list[str], train: "PatchFolder", val: "PatchFolder", *, soft: bool, most: int
) -> ToldPixels:
    """Reads the label maps of a task's data for the images of features.

    Args:
        task: name or path of the task.
        flags: `--data.*` as `fit` takes them.
        train: features that vote.
        val: features that are told; the same object where the data's own splits decide which image votes.
        soft: see `make_bank`.
        most: patches that vote.

    Raises:
        UserError: the data cannot be read, have no label maps, or none of these images.
    """
    recipe = load_recipe(find_task(task), None)
    from maekit.features.patches.segment import make_bank
    from maekit.recipes.settings import resolve_data

    module = recipe.task.load()
    labels = module.Data(**resolve_data(recipe, module, flags)).pixel_labels()
    both = {**labels.train, **labels.val}
    voting = _known(train, labels.train if train is val else both)
    asked = _known(val, labels.val if train is val else both)
    known = {id(folder): len(set(_known(folder, both))) for folder in (train, val)}
    notes = [
        f"{plural(len(folder.files) - known[id(folder)], 'image')} of {folder.path} left out: not in the data"
        for folder in ((train,) if train is val else (train, val))
        if len(folder.files) > known[id(folder)]
    ]
    for folder, found in ((train, voting), (val, asked)):
        if not found:
            raise _none_of(folder, both)
    if same := len(set(voting.values()) & set(asked.values())):
        notes.append(f"{plural(same, 'image')} in both: their own patches vote for them")
    bank = make_bank(train, list(voting), list(voting.values()), labels, soft=soft, most=most)
    if len(bank.features) < bank.num_known:
        notes.append(f"{len(bank.features):,} of {bank.num_known:,} patches vote: --bank_size {most:,}")
    return ToldPixels(labels, bank, train, val, asked, notes)


def _known(folder: "PatchFolder", numbers: Mapping[str, int]) -> dict[int, int]:
    """Returns the place in the folder of each image that is known, and the number of its label map."""
    root = Path(folder.metadata["images"]).resolve()
    paths = (os.path.normpath(root / name) for name in folder.files)
    return {image: numbers[path] for image, path in enumerate(paths) if path in numbers}


def _none_of(folder: "PatchFolder", numbers: Mapping[str, int]) -> UserError:
    first = os.path.normpath(Path(folder.metadata["images"]).resolve() / folder.files[0])
    return UserError(
        f"{folder.path}: the data have no label map for any of its {len(folder.files):,} images, such as {first}, "
        f"expected the same paths; the data's are such as {next(iter(numbers), 'none')}; embed the data's folder"
    )
