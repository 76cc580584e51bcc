"""Top-1, top-5 and mean loss, exact under any split of the images over batches and processes."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

_LOSS_UNIT = 2.0**-24  # integer sums do not depend on their order, and every device has them


class ClassificationMetrics(Metric):
    """Counts each image once: top-1 and top-5 in percent, as the papers print them (83.664), and the mean loss.

    A row whose index is below 0 is padding and is not counted. `compute()` joins all processes; every process must
    call it. Sums are integers (the fp32 cross entropy of an image in units of 2^-24), so any split of the same logits
    gives the same bits. The loss is nan when that of an image is not finite, everything is nan when no image was seen.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # images, top-1 hits, top-5 hits, loss, images whose loss is not finite
        self.add_state("sums", torch.zeros(5, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        """Adds a batch: logits [B, C], int64 labels [B] in [0, C), int64 index [B], -1 for padding.

        Top-5 is top-C where there are fewer than 5 classes.
        """
        real = index >= 0
        logits, labels = logits[real].float(), labels[real]
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        loss = cross_entropy(logits, labels, reduction="none")
        finite = loss.isfinite()
        units = (loss.where(finite, 0.0) / _LOSS_UNIT).round().long()
        counts = [torch.ones_like(labels), hits[:, 0], hits.any(1), units, ~finite]
        self.sums += torch.stack([count.long().sum() for count in counts])

    def compute(self) -> dict[str, Tensor]:
        """Returns float scalars: `top1` and `top5` in percent (0 to 100), `loss` in nats per image."""
        images, top1, top5, loss, bad = self.sums
        mean_loss = (loss / images * _LOSS_UNIT).where(bad == 0, torch.nan)
        return {"top1": 100 * top1 / images, "top5": 100 * top5 / images, "loss": mean_loss}
