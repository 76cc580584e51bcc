"""Models and optimizers of shipped recipes, for tests of any folder."""

from collections.abc import Sequence

from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task


def optimisation(task: str, recipe: str = "smoke", flags: Sequence[str] = ()) -> Optimisation:
    """What a recipe's section `optim` says."""
    stacked = load_recipe(find_task(task), recipe)
    return Optimisation(**resolve(stacked, stacked.task.load(), flags, training=False).values["optim"])
