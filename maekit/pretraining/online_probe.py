"""What frozen features are worth, measured beside a pre-training without touching it: k-NN and a linear probe."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from maekit.base.spec import Draw
from maekit.data.folder_dataset import FolderDataset
from maekit.data.images.batch import collate_images
from maekit.data.loader import make_loader
from maekit.features.neighbours.knn import knn_scores
from maekit.features.neighbours.probe import linear_probe_accuracy
from maekit.system.generators import untouched_generators

BATCH = 128


def probe_accuracies(
    features: Callable[[Tensor], Tensor],
    train: FolderDataset,
    val: FolderDataset,
    *,
    images: int,
    neighbours: int,
    device: torch.device,
    num_workers: int,
) -> dict[str, float]:
    """Returns `knn_top1` and `probe_top1` in percent. Features are computed under the caller's autocast.

    Args:
        features: images [B, C, H, W] to features [B, D].
        train: labelled images for the neighbours and for training the probe.
        val: those that are judged.
        images: look at so many of each at most, spread evenly over their listings.
        neighbours: that vote, weighted by their similarity.
        device: where to compute.
        num_workers: data-loading processes.
    """
    with untouched_generators():
        known, labels = embed_some(features, train, images, device, num_workers)
        asked, truth = embed_some(features, val, images, device, num_workers)
        classes = len(train.listing.classes)
        with torch.autocast(device.type, enabled=False):
            votes = knn_scores(asked, known, labels, num_classes=classes, neighbours=min(neighbours, len(known)))
            knn = (votes.argmax(1) == truth).double().mean().item()
            linear = linear_probe_accuracy(known, labels, asked, truth)
    return {"knn_top1": 100 * knn, "probe_top1": 100 * linear}


class Places(Sampler[Draw]):
    """Some places of a listing, in their order.

    Args:
        places: which.
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(0, place) for place in self.places)


@torch.inference_mode()
def embed_some(
    features: Callable[[Tensor], Tensor], data: FolderDataset, limit: int, device: torch.device, num_workers: int
) -> tuple[Tensor, Tensor]:
    """Returns features [n, D] float32 and labels [n] on the CPU, n at most `limit`."""
    chosen = np.unique(np.linspace(0, len(data) - 1, min(limit, len(data))).round().astype(int)).tolist()
    found, labels = [], []
    for batch in make_loader(data, Places(chosen), BATCH, num_workers, device.type == "cuda", collate_images):
        found.append(features(batch.image.to(device, non_blocking=True)).float().cpu())
        labels.append(batch.label)
    return torch.cat(found), torch.cat(labels)
