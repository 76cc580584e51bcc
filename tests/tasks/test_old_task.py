"""A user's task written for an earlier version: one line names the new place."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from maekit.errors import UserError
from maekit.recipes.moved_modules import MOVED
from maekit.recipes.tasks import find_task

OLD_IMPORTS = """
from maekit.classifier import FineTunedClassifier as Model
from maekit.data.imagenet import ImageNet as Data
"""
OLD_NAME = """
from maekit.robustness import RobustnessClassifier as Model
from maekit.classification.data.imagenet import ImageNet as Data
"""
OLD_CONSTRUCTOR = """
from maekit.classification.data.imagenet import ImageNet as Data
from maekit.classification.model import FineTunedClassifier

class Model(FineTunedClassifier):
    def __init__(self, spec, *, tuned_blocks: float, **shared):
        super().__init__(spec, **shared)
"""


def task(folder: Path, text: str) -> Path:
    for name in ("tasks", "configs"):
        (folder / name).mkdir()
    (folder / "configs/mine.yaml").write_text("model: {backbone: vit_test_patch8}\n")
    (folder / "tasks/mine.py").write_text(f'"""Mine."""\n{text}')
    return folder / "tasks/mine.py"


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (OLD_IMPORTS, "maekit.classifier", "maekit.classification.model"),
        (OLD_NAME, "RobustnessClassifier", "maekit.robustness.model"),
    ],
)
def test_an_old_import_names_the_new_module(tmp_path: Path, text: str, old: str, new: str) -> None:
    file = task(tmp_path, text)
    with pytest.raises(UserError) as caught:
        find_task(str(file)).load()
    line = str(caught.value)
    assert str(file) in line and old in line and new in line and "\n" not in line


def test_an_old_constructor_is_told_what_it_takes_now(tmp_path: Path) -> None:
    from maekit.recipes.recipe import load_recipe
    from maekit.recipes.settings import resolve

    file = task(tmp_path, OLD_CONSTRUCTOR)
    recipe = load_recipe(find_task(str(file)), None)
    with pytest.raises(UserError, match="settings") as caught:
        resolve(recipe, recipe.task.load(), [], training=True)
    assert "mine.Model" in str(caught.value)


def test_somebody_elses_missing_module_is_theirs(tmp_path: Path) -> None:
    file = task(tmp_path, "import no_such_library_of_mine\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library_of_mine"):
        find_task(str(file)).load()


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_every_new_place_exists(old: str, new: str) -> None:
    assert find_spec(new) is not None, old
