"""The metric of a run's validation images, by the model and by an exported file in its place."""

import torch

from maekit.base.data import TransferData
from maekit.base.exportable import Exportable, GraphModel
from maekit.base.model import TransferModel
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
    """
    metrics = model.new_metrics()
    total = len(data.val_dataset())
    with Progress("validate", total, "image") as progress, torch.inference_mode():
        for batch in validation_batches(data, None, batch_size):
            if file is None:
                model.update_metrics(metrics, batch)
            else:
                assert exportable.evaluated_with is not None
                with exportable.evaluated_with(file):
                    model.update_metrics(metrics, batch)
            progress.advance(min(batch_size, total))
    found: dict[str, torch.Tensor] = metrics.compute()  # type: ignore[operator]  # what implements `Metrics`
    return {name: float(value) for name, value in found.items()}


def worse_by(before: float, after: float, mode: str) -> float:
    """Returns by what share of itself a metric got worse; negative where it got better."""
    change = before - after if mode == "max" else after - before
    return change / max(abs(before), 1e-12)
