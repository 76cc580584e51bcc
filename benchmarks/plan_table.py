"""Writes the table of docs/plan.md: the largest device batch that fits, by task, size, memory and strategy. Predicted.

python benchmarks/plan_table.py > table.md
"""

from maekit.errors import UserError
from maekit.planning.memory import build_on_meta, count, fitting, sizes_of
from maekit.planning.state import Strategy, state_of
from maekit.planning.target import Target
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import Task, shipped_tasks

SIZES = {"B": "base", "L": "large", "H": "huge"}
GIB = (24, 40, 80)
DEVICES = 8


def rows_of(task: Task, size: str, recipe: str) -> list[str]:
    """Returns a row for DDP and one for FSDP2 on 8 cards in bf16: cells without and with recomputed blocks."""
    stacked, module = load_recipe(task, recipe), task.load()
    settings = resolve(stacked, module, ["--model.weights", "none"], training=True)
    values = settings.values
    spec = module.Data(**values["data"]).assumed_spec()
    model = build_on_meta(module, spec, values["model"])
    recompute = [False, True] if "gradient_checkpointing" in values["model"] else [False]
    target = Target("cuda", "bf16-mixed")
    counts = count(model, target, recompute)
    sizes = sizes_of(model, values["data"]["total_batch_size"], DEVICES)
    strategies: tuple[Strategy, ...] = ("ddp", "fsdp2")
    rows = []
    for strategy in strategies:
        state = state_of(model, values["optim"]["optimizer"], average=False, strategy=strategy, devices=DEVICES)
        cells = [
            " / ".join(str(fitting(each, state, sizes, "cuda", gib * 2**30) or "-") for each in counts) for gib in GIB
        ]
        side = f"{spec.image_size[0]} px"
        rows.append(f"| {task.name} | {size} | {side} | {sizes[-1]} | {strategy} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Prints the table as Markdown."""
    print("| task | size | images | share | strategy | 24 GiB | 40 GiB | 80 GiB |\n|---|---|---|---|---|---|---|---|")
    for task in shipped_tasks():
        for size, recipe in SIZES.items():
            try:
                stacked = load_recipe(task, None if recipe == "huge" else recipe)
            except UserError:
                continue
            if "optim" in stacked.values and stacked.name == recipe:
                print("\n".join(rows_of(task, size, recipe)), flush=True)


if __name__ == "__main__":
    main()
