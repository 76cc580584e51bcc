"""What a task's data say of the images of features, and how well their neighbours tell it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from maekit.system.numbers import plural

if TYPE_CHECKING:
    from torch import Tensor

    from maekit.features.files.folder import FeatureFolder
    from maekit.features.neighbours import targets
    from maekit.features.neighbours.knn import Neighbours


@dataclass(frozen=True, eq=False)
class Told:
    """Labels, values or grades of images.

    Attributes:
        kind: `labels`, `values` or `grades`.
        names: one a label, value or grade.
        bank: [M, N] of the images whose features are searched.
        queries: [Q, N] of those that are told by them.
    """

    kind: "targets.Told"
    names: tuple[str, ...]
    bank: "Tensor"
    queries: "Tensor"

    def words(self) -> str:
        """Returns what is told, for the user."""
        return plural(len(self.names), self.kind.removesuffix("s"))

    def measured(
        self, found: "Neighbours", counts: list[int], temperature: float | None
    ) -> dict[int, dict[str, float]]:
        """Returns the scores of each number of neighbours, of which `found` has the most; see `targets.measured`."""
        from maekit.features.neighbours.knn import Neighbours, mean_of_neighbours
        from maekit.features.neighbours.targets import measured

        truth, table = self.queries.double().cpu().numpy(), {}
        for count in counts:
            near = Neighbours(found.similarity[:, :count], found.rows[:, :count])
            predicted = mean_of_neighbours(near, self.bank, temperature).double().cpu().numpy()
            table[count] = measured(self.kind, predicted, truth)
        return table


class Read(NamedTuple):
    """The features of the images that a data set has; of classes with labels, else with `told`; and notes."""

    bank: "FeatureFolder"
    queries: "FeatureFolder"
    told: Told | None
    notes: list[str]


def read_told(task: str, flags: list[str], bank: "FeatureFolder", queries: "FeatureFolder") -> Read:
    """Reads what a task's data say of the images of features.

    Args:
        task: name or path of the task.
        flags: `--data.*` as `fit` takes them.
        bank: features that are searched.
        queries: features that are told by them; the same object for leave-one-out.

    Raises:
        UserError: the data cannot be read, have no label of a whole image, or none of these images.
    """
    recipe = load_recipe(find_task(task), None)
    from maekit.features.neighbours.targets import known_images
    from maekit.recipes.settings import resolve_data

    module = recipe.task.load()
    data = module.Data(**resolve_data(recipe, module, flags))
    labels, spec = data.image_labels(), data.spec()
    ours = known_images(bank, labels)
    theirs = ours if queries is bank else known_images(queries, labels)
    notes = [
        f"{plural(part.unknown, 'image')} of {part.folder.path} left out: not in the data"
        for part in ((ours,) if ours is theirs else (ours, theirs))
        if part.unknown
    ]
    if spec.target == "classes":
        first = replace(ours.folder, labels=ours.targets, classes=spec.class_names)
        second = first if theirs is ours else replace(theirs.folder, labels=theirs.targets, classes=spec.class_names)
        return Read(first, second, None, notes)
    rows = [part.targets[:, None] if part.targets.ndim == 1 else part.targets for part in (ours, theirs)]
    told = Told(spec.target, spec.class_names or spec.value_names, rows[0], rows[1])
    return Read(ours.folder, theirs.folder, told, notes)
