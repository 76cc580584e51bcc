"""Prints what makes an accelerator wait for the host, or the host for it, in each task: no accelerator is needed.

    python -m benchmarks.host_reads                       # all tasks
    python -m benchmarks.host_reads coco_maskrcnn --lines --images 4

Counted on the tests' stand-in device (tests/stand_in.py), with a 6-block ViT and the smoke recipe: a training step is
losses and gradients of a batch; an evaluation step is what one batch adds to the metrics; `compute` is the metrics'
end, once a validation. Numbers are scalars / nonzero (also masks as indices, unique, nms) / copies to the CPU / copies
to the device that block. That a step of a whole run adds none is held by tests/training/test_host_reads.py.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

import maekit
from maekit.base.spec import Draw
from maekit.recipes.tasks import shipped_tasks
from tests import stand_in
from tests.stand_in import Waits, to_device

KINDS = ("scalar", "nonzero", "to_cpu", "to_device")
COLUMNS = ("training step", "evaluation step", "compute")


def main() -> None:
    """Prints a table in Markdown, and with --lines where each wait is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tasks", nargs="*", default=[task.name for task in shipped_tasks()])
    parser.add_argument("--images", type=int, default=2, help="images of a batch")
    parser.add_argument("--lines", action="store_true", help="print the lines that wait")
    args = parser.parse_args()
    stand_in.register()
    print(f"| task | {' | '.join(COLUMNS)} |\n|---|---|---|---|")
    for task in args.tasks:
        found = count(task, args.images)
        cells = (
            " / ".join(str(found[column][0][kind]) for kind in KINDS) if column in found else "" for column in COLUMNS
        )
        print(f"| {task} | {' | '.join(cells)} |", flush=True)
        for column in COLUMNS if args.lines else ():
            for line, times in found.get(column, (Counter(), Counter()))[1].most_common():
                print(f"    {column}: {times} x {line}")


Counts = tuple[Counter[str], Counter[str]]


def count(task: str, images: int) -> dict[str, Counts]:
    """Returns by column the waits of a task, by kind and by line."""
    values = {"model.weights": "none", "data.num_workers": 0, "model.backbone": "vit_smoke_patch8"}
    session = maekit.build(task, "smoke", values)
    model, data = session.model, session.data
    found: dict[str, Counts] = {}
    with stand_in.stand_in(lines=True) as waits:
        to_device(model)
        if not model.evaluates_only:
            batch, model = on_device(model, data, data.train_dataset(0), images), model.train()
            found["training step"] = counted(waits, lambda: train(model, batch))
        model.eval()
        metrics, batch = to_device(model.new_metrics()), on_device(model, data, data.val_dataset(), images)
        with torch.no_grad():
            found["evaluation step"] = counted(waits, lambda: model.update_metrics(metrics, batch))
            found["compute"] = counted(waits, metrics.compute)
    return found


def on_device(model: Any, data: Any, dataset: Any, images: int) -> Any:
    batch = data.collate([dataset[Draw(0, index)] for index in range(images)])
    return to_device(batch)._replace(**{name: getattr(batch, name) for name in model.on_host if name in batch._fields})


def train(model: Any, batch: Any) -> None:
    model.training_losses(model.drawn(batch))["loss"].backward()


def counted(waits: Waits, run: Callable[[], object]) -> Counts:
    waits.reset()
    run()
    return Counter(waits.counts), Counter(waits.lines)


if __name__ == "__main__":
    main()
