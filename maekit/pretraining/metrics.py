"""Loss and PSNR of masked reconstruction, exact under any split of the images over batches and processes."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from maekit.base.evaluation.image_records import Counts, Floats, ImageRecords, mean_of

_UNIT = 2.0**-24  # integer sums do not depend on their order, and every device has them


class ReconstructionRecords(ImageRecords):
    """The reconstruction of each image.

    Args:
        places: [n] of each image its place in the listing.
        values: [n, 2] the loss of its hidden patches, and their PSNR in dB.
    """

    def __init__(self, places: NDArray[np.int64], values: Floats) -> None:
        self.places, self.values = places, values

    def columns(self) -> dict[str, Sequence[object]]:
        """Returns loss and PSNR."""
        return {"loss": self.values[:, 0].tolist(), "psnr": self.values[:, 1].tolist()}

    def resampled(self, counts: Counts) -> dict[str, Floats]:
        """Returns the mean loss and PSNR."""
        return {name: mean_of(counts, self.values[:, place]) for place, name in enumerate(("loss", "psnr"))}


class PretrainingMetrics(Metric):
    """Means over images, each counted once; a row whose index is below 0 is padding and is not counted.

    `compute()` joins all processes; every process must call it. A value is nan when that of an image is not finite, or
    when no image was seen.
    """

    full_state_update = False
    sums: Tensor
    images: list[Tensor]  # torchmetrics joins them into one tensor
    places: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # images, loss, PSNR, images whose loss or PSNR is not finite
        self.add_state("sums", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")
        # of each image its loss and PSNR [n, 2], and its place in the listing [n]
        self.add_state("images", [], dist_reduce_fx="cat")
        self.add_state("places", [], dist_reduce_fx="cat")

    def update(self, loss: Tensor, psnr: Tensor, index: Tensor) -> None:
        """Adds a batch: loss [B], PSNR [B] in dB, int64 index [B], -1 for padding."""
        # rows are weighted, not selected: a selection waits for the device
        real = (index >= 0).to(loss.device, non_blocking=True)
        values = torch.stack([loss, psnr]).float()
        finite = values.isfinite().all(0)
        units = (values.where(finite & real, 0.0) / _UNIT).round().long().sum(1)
        self.sums += torch.stack([real.sum(), units[0], units[1], (~finite & real).sum()])
        self.images.append(values.T)
        self.places.append(index.to(loss.device, non_blocking=True))

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars: `loss`, the mean square error of the hidden patches' targets, and `psnr` in dB."""
        images, loss, psnr, bad = self.sums
        means = {"loss": loss / images * _UNIT, "psnr": psnr / images * _UNIT}
        return {name: mean.where(bad == 0, torch.nan) for name, mean in means.items()}

    def image_records(self) -> ReconstructionRecords:
        """Returns the images of all processes, each once; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            values = _joined(self.images, torch.empty(0, 2)).cpu().double()
            places = _joined(self.places, torch.empty(0, dtype=torch.int64)).cpu()
        order = places.argsort(stable=True)
        order = order[places[order] >= 0]
        return ReconstructionRecords(places[order].numpy(), values[order].numpy())


def _joined(parts: "list[Tensor] | Tensor", empty: Tensor) -> Tensor:
    return parts if isinstance(parts, Tensor) else torch.cat(parts) if parts else empty
