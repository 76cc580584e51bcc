"""Loss and PSNR of masked reconstruction, exact under any split of the images over batches and processes."""

import torch
from torch import Tensor
from torchmetrics import Metric

_UNIT = 2.0**-24  # integer sums do not depend on their order, and every device has them


class PretrainingMetrics(Metric):
    """Means over images, each counted once; a row whose index is below 0 is padding and is not counted.

    `compute()` joins all processes; every process must call it. A value is nan when that of an image is not finite, or
    when no image was seen.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # images, loss, PSNR, images whose loss or PSNR is not finite
        self.add_state("sums", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, psnr: Tensor, index: Tensor) -> None:
        """Adds a batch: loss [B], PSNR [B] in dB, int64 index [B], -1 for padding."""
        # rows are weighted, not selected: a selection waits for the device
        real = (index >= 0).to(loss.device, non_blocking=True)
        values = torch.stack([loss, psnr]).float()
        finite = values.isfinite().all(0)
        units = (values.where(finite & real, 0.0) / _UNIT).round().long().sum(1)
        self.sums += torch.stack([real.sum(), units[0], units[1], (~finite & real).sum()])

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars: `loss`, the mean square error of the hidden patches' targets, and `psnr` in dB."""
        images, loss, psnr, bad = self.sums
        means = {"loss": loss / images * _UNIT, "psnr": psnr / images * _UNIT}
        return {name: mean.where(bad == 0, torch.nan) for name, mean in means.items()}
