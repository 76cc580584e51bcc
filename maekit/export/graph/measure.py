"""The metric of a run's validation images, by the model and by an exported file in its place."""

from contextlib import nullcontext

import torch

from maekit.base.data import TransferData
from maekit.base.exportable import Exportable, GraphModel
from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.export.graph.samples import validation_batches
from maekit.system.progress import Progress


def metric_of(
    model: TransferModel, data: TransferData, exportable: Exportable, file: GraphModel | None, batch_size: int
) -> dict[str, float]:
    """Returns the metrics of all validation images.

    Args:
        model: the model whose metrics they are.
        data: the run's data, set up.
        exportable: of the model.
        file: what computes the outputs; None for the model itself.
        batch_size: images at a time.

    Raises:
        UserError: the model's metrics never ask the file.
    """
    metrics = model.new_metrics()
    total, done, used = len(data.val_dataset()), 0, 0

    def runs(*inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal used
        assert file is not None
        used += 1
        return file(*inputs)

    own = exportable.evaluated_with
    with Progress("validate", total, "image") as progress, torch.inference_mode():
        for batch in validation_batches(data, None, batch_size):
            with nullcontext() if file is None or own is None else own(runs):
                model.update_metrics(metrics, batch)
            progress.advance(min(batch_size, total - done))
            done += batch_size
    if file is not None and not used:
        raise UserError(
            f"the metrics of {type(model).__name__} do not use the outputs that are exported, so that those of a file "
            "cannot be measured; give --images DIR, to count equal predictions"
        )
    found: dict[str, torch.Tensor] = metrics.compute()  # type: ignore[operator]  # what implements `Metrics`
    return {name: float(value) for name, value in found.items()}


def worse_by(before: float, after: float, mode: str) -> float:
    """Returns by what share of itself a metric got worse; negative where it got better."""
    change = before - after if mode == "max" else after - before
    return change / max(abs(before), 1e-12)
