"""The help of a task's flags: the most used first, short words for types, and all of them on request."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pytest

from maekit.recipes.flag_help import MOST_USED, NUM_SHOWN, FlagHelp, most_used, short_help, type_words, whole_help
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import flag_helps, help_text, make_parser
from maekit.recipes.tasks import find_task


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (str, "TEXT"),
        (float | None, "NUMBER|null"),
        (int | float | None, "NUMBER|null"),
        (Literal["cosine", "poly"], "cosine|poly"),
        (Literal["auto"] | bool, "auto|true|false"),
        (Literal["a", 3, None], "a|3|null"),
        (list[float], "[NUMBER,...]"),
        (Sequence[int] | None, "[COUNT,...]|null"),
        (dict[str, float] | None, "MAPPING|null"),
        (Mapping[str, int], "MAPPING"),
        (str | dict[str, int] | None, "TEXT|MAPPING|null"),
    ],
)
def test_types_in_short(hint: object, words: str) -> None:
    assert type_words(hint) == words


def test_an_entry_has_type_meaning_and_default_within_the_width() -> None:
    flag = FlagHelp("optim.lr", "NUMBER|null", None, "absolute peak lr.\n" + "and so on " * 30, "An optimizer")
    lines = whole_help([flag], 60).splitlines()
    assert lines[:2] == ["An optimizer:", "  --optim.lr NUMBER|null"]
    assert " ".join(" ".join(lines[2:]).split()).endswith("and so on. Default: null")
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("task", ["imagenet_finetune", "ade20k_upernet", "coco_maskrcnn", "mae_pretrain"])
def test_a_task_shows_its_most_used_flags_and_lists_all(task: str) -> None:
    recipe = load_recipe(find_task(task), None)
    module = recipe.task.load()
    defaults = vars(make_parser(module, training=True).get_defaults().as_flat())
    flags = flag_helps(recipe, module)
    assert {flag.key for flag in flags} == set(map(str, defaults)) - {"config"}
    assert all(flag.text and flag.kind for flag in flags)
    shown = [flag.key for flag in most_used(flags)]
    assert {"data.root", "model.weights", "trainer.devices", "run.name"} <= set(shown) and len(shown) == NUM_SHOWN
    brief, whole = help_text(recipe, module, "maekit fit", every=False), whole_help(flags)
    assert all(f"--{key} " in brief for key in shown) and recipe.task.own_data().split()[0] in brief
    assert all(f"--{flag.key} " in whole for flag in flags)
    assert ":class:" not in whole and "Union[" not in whole and "Literal[" not in whole


def test_the_most_used_flags_stand_in_their_order() -> None:
    flags = [FlagHelp(key, "TEXT", "x", "text", "t") for key in reversed(MOST_USED)]
    assert [flag.key for flag in most_used(flags)] == list(MOST_USED[:NUM_SHOWN])
    assert short_help(flags, 80).splitlines()[1] == f"  --{MOST_USED[0]} TEXT"
