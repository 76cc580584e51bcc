"""Top-1 and errors of every robustness data set at once, exact under any split of the images over processes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from maekit.robustness.data.sets import CORRUPTED, SEVERITIES, WHOLE, alexnet_errors, cells


class Count(NamedTuple):
    """What was counted of one cell.

    Attributes:
        images: evaluated ones.
        hits: those whose best class, among the data set's own classes where it has any, was right.
        hits_of_all: those whose best class among all of the model's was right.
    """

    images: int
    hits: int
    hits_of_all: int

    @property
    def error(self) -> float:
        """Top-1 error among all of the model's classes, in percent; nan for a cell without images."""
        return 100 * (self.images - self.hits_of_all) / self.images if self.images else float("nan")


class RobustnessMetrics(Metric):
    """Counts each image once, in its cell; a row whose index is below 0 is padding and is not counted.

    Counts are integers, so any split of the same logits gives the same bits. `compute()` joins all processes; every
    process must call it. It returns what `summarise` returns of `counts()`.

    Args:
        num_classes: of the model.
        candidates: for a data set that has classes of its own, by name: the model's indices of these.
    """

    full_state_update = False
    sums: Tensor
    allowed: Tensor

    def __init__(self, num_classes: int, candidates: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        allowed = torch.ones(len(cells()), num_classes, dtype=torch.bool)
        for number, cell in enumerate(cells()):
            if cell.name in candidates:
                allowed[number] = False
                allowed[number, torch.tensor(candidates[cell.name])] = True
        self.register_buffer("allowed", allowed, persistent=False)
        self.add_state("sums", torch.zeros(len(cells()), 3, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, cell: Tensor, index: Tensor) -> None:
        """Adds a batch: logits [B, C], int64 labels [B] in [0, C), int64 cell [B], int64 index [B], -1 for padding."""
        real, logits = index >= 0, logits.float()  # rows are weighted, not selected: a selection waits for the device
        labels, cell = labels.where(real, 0), cell.where(real, 0)
        best = logits.argmax(1)
        best_of_own = logits.masked_fill(~self.allowed[cell], -torch.inf).argmax(1)
        rows = torch.stack([torch.ones_like(labels), (best_of_own == labels).long(), (best == labels).long()], dim=1)
        self.sums.index_add_(0, cell, rows * real[:, None])

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars, see `summarise`."""
        values = summarise(self._rows())
        return dict(zip(values, torch.tensor(list(values.values())).to(self.sums.device), strict=True))

    def counts(self) -> list[Count]:
        """Returns one count a cell, over all processes; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._rows()

    def _rows(self) -> list[Count]:
        return [Count(*row) for row in self.sums.tolist()]


def summarise(counts: Sequence[Count]) -> dict[str, float]:
    """Returns the metrics of what was counted; all are percent.

    - `a_top1`, `r_top1`: among the data set's own 200 classes; `a_top1_all_classes`, `r_top1_all_classes`: among all of
      the model's. `sketch_top1`: among all.
    - `c_<corruption>_<severity>_error`, and `c_<corruption>_error`: its mean over the five severities.
    - `c_mean_error`: the mean of the 15 corruptions' errors, divided by nothing.
    - `c_mce_alexnet`: mCE of arXiv 1903.12261, the mean of the 15 errors, each divided by AlexNet's.
    - `c_partial_mean_error`, instead of these two: the mean over what is there of the 75 severities of corruptions.

    Args:
        counts: one a cell, in the order of `cells()`; what has no images is left out.
    """
    values: dict[str, float] = {}
    for name, count in zip(WHOLE, counts, strict=False):
        short = name.removeprefix("imagenet_")
        if count.images:
            values[f"{short}_top1"] = 100 * count.hits / count.images
            if name != "imagenet_sketch":
                values[f"{short}_top1_all_classes"] = 100 * count.hits_of_all / count.images
    return values | _corrupted({cell[1:]: count for cell, count in zip(cells(), counts, strict=True) if count.images})


def corruption_errors(counts: Sequence[Count]) -> dict[str, list[float]]:
    """Returns the errors in percent of the five severities of each corruption; nan where there are no images."""
    errors = {corruption: [float("nan")] * len(SEVERITIES) for corruption in alexnet_errors()}
    for cell, count in zip(cells(), counts, strict=True):
        if cell.name == CORRUPTED:
            errors[cell.corruption][cell.severity - 1] = count.error
    return errors


def _corrupted(found: dict[tuple[str, int], Count]) -> dict[str, float]:
    single = {key: count.error for key, count in found.items() if key[0]}
    if not single:
        return {}
    values = {f"c_{corruption}_{severity}_error": error for (corruption, severity), error in single.items()}
    whole: dict[str, float] = {}
    for corruption in alexnet_errors():
        errors = [single[corruption, severity] for severity in SEVERITIES if (corruption, severity) in single]
        if len(errors) == len(SEVERITIES):
            whole[corruption] = sum(errors) / len(errors)
    values |= {f"c_{corruption}_error": error for corruption, error in whole.items()}
    if len(whole) < len(alexnet_errors()):
        return values | {"c_partial_mean_error": sum(single.values()) / len(single)}
    relative = [error / alexnet_errors()[corruption] for corruption, error in whole.items()]
    mean, mce = sum(whole.values()) / len(whole), sum(relative) / len(relative)
    return values | {"c_mean_error": mean, "c_mce_alexnet": mce}
