"""The published tables: the numbers typed a second time, and cells that runs of the shipped recipes can fill."""

import pytest

from maekit.errors import UserError
from maekit.paper.tables import CONFIDENCE, Cell, load_table, table_names
from maekit.paper.text import number
from maekit.recipes.recipe import flat, header, load_recipe, recipe_names
from maekit.recipes.tasks import find_task

# Typed from the paper's pages once more, row after row, columns that have no number left out.
NUMBERS = {
    "3": "82.3 82.6 83.1  82.8  83.2 84.1  83.2 85.2  83.6 85.9 86.9 87.8",
    "4": "47.9 49.3 42.9 43.9  47.9 49.3 42.7 44.0  49.8 53.3 44.4 47.1  50.3 53.3 44.9 47.2",
    "5": "47.4 49.9  47.3 49.1  47.1 53.3  48.1 53.6",
    "6": "70.5 75.7 79.3 83.4 75.4  75.4 80.1 83.0 86.8 81.2  80.5 83.4 85.7 88.3 84.1  63.9 65.8 65.9 66.8 66.0"
    "  57.9 59.4 59.8 60.3 58.0",
    "7": "83.3 85.1 86.2 49.5 52.8 48.0 51.8  83.6 85.9 86.9 50.3 53.3 48.1 53.6  83.6 85.7 86.9 50.3 53.2 48.1 53.4",
    "12": "69.0  72.0  52.1  77.6  68.0 75.8 76.6",
    "13": "51.7 41.8 33.8 36.8 42.5 45.8 42.3 41.3  35.9 57.1 68.2 76.7 35.8 27.2 29.6 33.1"
    "  48.3 59.9 64.4 66.5 48.7 49.4 50.9 50.3  34.5 45.3 49.6 50.9 36.0 35.6 37.5 38.0",
    "dinov2": "81.1 84.5 86.3 86.5  80.9 84.6 86.7 87.1  80.8 84.4 86.5 87.0  79.0 82.1 83.5 83.5  79.1 82.0 83.8 83.7"
    "  47.2 51.3 53.1 53.0",
    "dinov3": "47.0 48.8 51.8 54.9 54.8 55.9",
    "probes": "77.0 79.7 78.2 80.1  74.5 78.3 76.1 77.4",
    "fig9": "73.5 79.1 81.0 83.1 84.2 84.4 84.6 84.7 84.9  77.6 79.9 80.8 81.6 81.9 83.2 83.8 84.1",
    "11": "82.3 82.6 83.1  82.1 81.5 80.9",
    "2": "42.4 84.2  15.4 2.8 84.9  11.6 3.7 84.8  119.6  34.5 3.5 85.8  29.3 4.1 85.9",
    "1": "84.8 65.5 84.9 70.0 84.9 71.9 84.9 73.5 84.4 73.3  84.9 69.1 84.8 71.3 84.9 73.5 84.4 73.1 84.3 73.1"
    "  84.2 59.6 84.9 73.5  84.9 73.5 85.4 73.9 84.6 72.3 85.3 71.6  84.0 65.7 84.7 73.1 84.9 73.5 84.3 71.9"
    "  84.9 73.5 83.9 72.3 82.8 63.9 84.0 66.0",
}
NAMED = ("dinov2", "dinov3", "fig9", "probes")
CELLS = [cell for name in table_names() for cell in load_table(name).cells]


def name_of(cell: Cell) -> str:
    return f"{cell.table}: {cell.name}"


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_the_published_one(name: str) -> None:
    table = load_table(name)
    own = [row for row in table.rows if row.source == table.source]
    found = [row.values[column].value for row in own for column in table.columns if column in row.values]
    assert found == [float(word) for word in NUMBERS[name].split()]


def test_all_tables_are_there_in_their_order() -> None:
    assert table_names() == ("1", "2", "3", "4", "5", "6", "7", "11", "12", "13", *NAMED)


@pytest.mark.parametrize("name", table_names())
def test_every_number_says_where_it_stands_and_how_sure_it_is(name: str) -> None:
    table = load_table(name)
    for row in table.rows:
        assert row.values, row.name
        assert set(row.values) <= set(table.columns), row.name
        for published in row.values.values():
            assert published.confidence in CONFIDENCE, row.name
            assert len(published.source) > 10, row.name
    assert len({row.name for row in table.rows}) == len(table.rows)


def test_a_number_from_memory_is_marked_in_a_row_read_in_a_paper() -> None:
    row = next(row for row in load_table("4").rows if row.name == "random weights")
    assert row.values["box B"].confidence == "paper"
    assert row.values["mask B"].confidence == "from memory"
    assert row.values["mask B"].source == "paper arXiv 2111.11429"


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_each_cell_is_of_a_recipe_that_is_there(cell: Cell) -> None:
    task = find_task(cell.ours.task)
    assert set(cell.ours.recipes) <= set(recipe_names(task))
    assert "smoke" not in cell.ours.recipes
    values = dict(flat(load_recipe(task, cell.ours.recipes[0]).values))
    assert set(cell.ours.when) <= set(values)
    assert len(cell.ours.flags) % 2 == 0


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_each_cell_is_what_its_recipe_says_it_should_reach(cell: Cell) -> None:
    """The recipes' own headers are a second copy of the numbers, made for another purpose."""
    for name in cell.ours.recipes:
        file = load_recipe(find_task(cell.ours.task), name).files[-1]
        if (cell.ours.task.endswith("linprobe") and cell.table == "fig9") or cell.ours.comparison:
            continue  # the figure's first point and other pre-trainings' rows are of other weights than the recipe's
        assert number(cell.published.value) in header(file), file.name


def test_no_run_is_of_two_cells_of_a_table_by_the_same_metric() -> None:
    keys = [
        (c.table, c.ours.task, r, c.ours.metric, repr(c.ours.when), c.ours.evaluation, c.ours.pretraining)
        for c in CELLS
        for r in c.ours.recipes
    ]
    assert len(keys) == len(set(keys))


def test_seed_noise_is_where_it_was_published_and_nowhere_else() -> None:
    noise = {name_of(cell): cell.ours.noise for cell in CELLS if cell.ours.noise is not None}
    assert noise == {
        "3: MAE, 1600 epochs on normalised pixels, B": 0.08,
        "3: MAE, 1600 epochs on normalised pixels, L": 0.07,
        "4: MAE by ViTDet's recipe, detectron2, box B": 0.10,
    }
    assert all(cell.ours.noise_source for cell in CELLS if cell.ours.noise is not None)


def test_less_is_better_of_errors_alone() -> None:
    assert {cell.row for cell in CELLS if cell.lower_is_better} == {"ImageNet-C (mCE)"}


def test_an_unknown_table_has_a_nearest_name() -> None:
    with pytest.raises(UserError, match=r"fig8.*fig9"):
        load_table("fig8")
