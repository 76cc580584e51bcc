"""Recipes: stacking, where each number comes from, and what YAML gets wrong."""

from pathlib import Path

import pytest

from maekit.errors import UserError
from maekit.recipes.recipe import base_name, flat, header, load_recipe, read_yaml, recipe_names, small_batch, stack
from maekit.recipes.tasks import Task, find_task, shipped_tasks


def task_in(folder: Path, **files: str) -> Task:
    (folder / "tasks").mkdir()
    (folder / "configs").mkdir()
    (folder / "tasks/mine.py").write_text('"""My own task."""\n')
    for name, text in files.items():
        (folder / "configs" / f"{name.replace('__', '-')}.yaml").write_text(text)
    return find_task(str(folder / "tasks/mine.py"))


def test_layers_win_key_by_key_and_remember_their_file(tmp_path: Path) -> None:
    task = task_in(tmp_path, mine="recipe: big\nmodel: {a: 1, b: 2}\ndata: {c: 3}\n", mine__small="model: {b: 20}\n")
    mine = tmp_path / "extra.yaml"
    mine.write_text("data: {c: 300}\nmodel: {d: 4e-3}\n")
    recipe = load_recipe(task, "small", [mine])
    assert recipe.values == {"model": {"a": 1, "b": 20, "d": 0.004}, "data": {"c": 300}}
    assert {key: file.name for key, file in recipe.origins.items()} == {
        "model.a": "mine.yaml", "model.b": "mine-small.yaml", "model.d": "extra.yaml", "data.c": "extra.yaml",
    }  # fmt: skip
    assert recipe_names(task) == ["big", "small"]
    assert (
        load_recipe(task, "big").values
        == load_recipe(task, None).values
        == {"model": {"a": 1, "b": 2}, "data": {"c": 3}}
    )


def test_stack_replaces_all_but_mappings() -> None:
    assert stack({"a": [1, 2], "b": {"c": 1, "d": 2}}, {"a": [3], "b": {"c": None}}) == {
        "a": [3],
        "b": {"c": None, "d": 2},
    }


def test_flat_enters_mappings() -> None:
    assert dict(flat({"a": {"b": {"c": 1}, "d": [1]}})) == {"a.b.c": 1, "a.d": [1]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1e-3", {"a": 0.001}), ("a: 1E5", {"a": 1e5}), ("a: -2.5e+1", {"a": -25.0}), ("a: 1.0", {"a": 1.0}),
        ("a: e5", {"a": "e5"}), ("", {}), ("a: rand-m9-mstd0.5-inc1", {"a": "rand-m9-mstd0.5-inc1"}),
    ],
)  # fmt: skip
def test_numbers_are_numbers(text: str, expected: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2", "'a' stands here twice"),
        ("a: [1", ":"),
        ("- 1\n- 2", "expected sections"),
        ("just words", "expected sections"),
    ],
)
def test_bad_yaml_names_the_file(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=r"bad\.yaml") as caught:
        read_yaml(tmp_path / "bad.yaml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_without_recipe_or_with_a_bad_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my-task.py").write_text("")
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(UserError, match="rename it"):
        find_task(str(tmp_path / "my-task.py"))
    with pytest.raises(UserError, match="has no recipe"):
        find_task(str(tmp_path / "mine.py"))
    with pytest.raises(UserError, match=r"did you mean 'mine.py'"):
        find_task(str(tmp_path / "mina.py"))
    with pytest.raises(UserError, match=r"did you mean 'imagenet_finetune'\?"):  # the first that begins so
        find_task("imagenet")


def test_the_recipe_for_small_data_is_offered_where_there_is_one() -> None:
    task = find_task("imagenet_finetune")
    few = load_recipe(task, "few")
    assert small_batch(few) is None
    assert small_batch(load_recipe(task, None)) == few.values["data"]["total_batch_size"] <= 80
    assert small_batch(load_recipe(find_task("mae_pretrain"), None)) is None


def test_every_shipped_task_has_recipes_with_a_header_and_a_summary() -> None:
    tasks = shipped_tasks()
    assert "imagenet_finetune" in {task.name for task in tasks}
    for task in tasks:
        assert task.summary().endswith(".")
        assert "smoke" in recipe_names(task)
        assert base_name(task) == "huge"
        for name in recipe_names(task):
            text = header(load_recipe(task, name).files[-1])
            assert all(word in text for word in ("Source:", "Expect:", "Run:")), f"{task.name} {name}: {text}"
            assert f"--task {task.name}" in text
