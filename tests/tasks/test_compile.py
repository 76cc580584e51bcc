"""What `--run.compile true` compiles: training losses in one graph; of detection the backbone with the pyramid."""

from typing import Any

import pytest
import torch
from torch.fx import GraphModule

import maekit
from maekit.base.spec import Draw
from maekit.recipes.tasks import shipped_tasks

TRAINED = [task.name for task in shipped_tasks() if not task.load().Model.evaluates_only]


class Counter:
    """A backend of torch.compile that runs each graph as it is, and counts graphs and runs."""

    def __init__(self) -> None:
        self.graphs, self.runs = 0, 0

    def __call__(self, graph: GraphModule, inputs: list[Any]) -> Any:
        self.graphs += 1

        def run(*args: Any) -> Any:
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of a tracer that looks at it
@pytest.mark.parametrize("task", TRAINED)
def test_a_steps_losses_are_one_graph(task: str) -> None:
    torch.compiler.reset()
    given = {"model.weights": "none", "data.num_workers": 0, "model.backbone": "vit_smoke_patch8"}
    if "model.drop_path" in task_keys(task):
        given["model.drop_path"] = 0.0
    session = maekit.build(task, "smoke", given)
    model, data = session.model.train(), session.data
    images = data.train_dataset(0)
    batch = data.collate([images[Draw(0, index)] for index in range(2)])
    drawn, counter = model.drawn(batch), Counter()
    torch.manual_seed(0)
    expected = model.training_losses(drawn)["loss"].item()
    losses = model.compile_losses(backend=counter)
    torch.manual_seed(0)
    loss = losses(drawn)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert (counter.graphs, counter.runs) == (1, 1)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    for step in range(2):  # other images, other draws: the same graph
        batch = data.collate([images[Draw(1, 2 * step + index)] for index in range(2)])
        losses(model.drawn(batch))["loss"].backward()  # type: ignore[no-untyped-call]
    assert (counter.graphs, counter.runs) == (1, 3)


def task_keys(task: str) -> set[str]:
    """The keys of a task's smoke recipe."""
    from maekit.recipes.recipe import flat, load_recipe
    from maekit.recipes.tasks import find_task

    return {key for key, _ in flat(load_recipe(find_task(task), "smoke").values)}
