"""Features of a frozen backbone, computed once for all epochs: a probe trains in minutes, without augmentation."""

import pickle
import shutil
import uuid
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader

from maekit.backbone.vit import ViT
from maekit.base.data import Balance, DrawDataset, RunData, TransferData
from maekit.base.identity import DataIdentity
from maekit.base.spec import DataSpec, Draw
from maekit.data.images.batch import ImageBatch, Sample, collate_images
from maekit.data.loader import choose_workers, make_loader
from maekit.data.sampler import EvalSampler
from maekit.errors import UserError
from maekit.system.files import cache_folder, locked
from maekit.system.progress import tracked
from maekit.system.terminal import say

_FORMAT = b"2"


class FeatureDataset(DrawDataset):
    """Features [D] float32 and labels as `cache_features` stored them, one sample a draw or a batch at a time."""

    reads_files = False

    def __init__(self, folder: Path, split: str) -> None:
        self.file = folder / f"{split}.npy"
        self.labels = np.load(folder / f"{split}_labels.npy")
        self._features: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: Draw) -> Sample:
        index = max(draw.index, 0)
        label = int(self.labels[index]) if draw.index >= 0 else 0
        return torch.from_numpy(self.features[index].copy()), label, draw.index

    def __getitems__(self, draws: Sequence[Draw]) -> ImageBatch:
        """Returns a whole batch, as torch's loader asks for it: one gather, not a Python call a sample."""
        index = np.array([draw.index for draw in draws])
        at = np.maximum(index, 0)
        labels = np.where(index >= 0, self.labels[at], 0)
        return ImageBatch(*map(torch.from_numpy, (self.features[at], labels.astype(np.int64), index)))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_features": None}

    @property
    def features(self) -> np.ndarray:
        """Returns [N, D] float32, left on disk until it is used."""
        if self._features is None:
            self._features = np.load(self.file, mmap_mode="r")
        return self._features


class CachedFeatures(RunData):
    """A data set of precomputed features instead of images; all else is that of the images.

    Args:
        data: the images.
        folder: where `cache_features` stored their features.
    """

    def __init__(self, data: TransferData, folder: Path) -> None:
        self.data, self.folder = data, folder
        self.total_batch_size, self.device_batch_size = data.total_batch_size, data.device_batch_size
        self.num_workers = data.num_workers

    def setup(self) -> None:
        """Reads the listings."""
        self.data.setup()

    def spec(self) -> DataSpec:
        """Returns the spec of the images."""
        return self.data.spec()

    def identity(self) -> DataIdentity:
        """Returns the identity of the images."""
        return self.data.identity()

    def summary(self) -> str:
        """Returns the summary of the images, and where the features are stored."""
        return f"{self.data.summary()}; features, augmentation frozen (not the paper's protocol), in {self.folder}"

    def train_dataset(self, seed: int) -> FeatureDataset:
        """Returns the training images' features, the same in every epoch."""
        return FeatureDataset(self.folder, "train")

    def val_dataset(self) -> FeatureDataset:
        """Returns the validation images' features."""
        return FeatureDataset(self.folder, "val")

    def val_files(self) -> list[str]:
        """Returns the paths of the images whose features these are."""
        return self.data.val_files()

    def balance(self) -> Balance | None:
        """Returns how often each class is in the images."""
        return self.data.balance()

    def sample_weights(self) -> np.ndarray | None:
        """Returns how often each training image is drawn, as the images say."""
        return self.data.sample_weights()

    def input_transform(self) -> dict[str, Any]:
        """Returns the input transform of the images."""
        return self.data.input_transform()

    @staticmethod
    def collate(samples: ImageBatch | list[Sample]) -> ImageBatch:
        """Joins samples into an `ImageBatch` whose `image` is features [B, D]."""
        return samples if isinstance(samples, ImageBatch) else collate_images(samples)


Pool = Callable[[Tensor], Tensor]


def cache_features(
    backbone: ViT, pool: Pool, data: TransferData, device: torch.device, *, width: int
) -> CachedFeatures:
    """Runs the backbone once on every training and validation image, or finds the features of an earlier run.

    The images are transformed as for evaluation. The features (float32, in the order of the listings) are stored in the
    cache folder under a hash of the weights, the listings, the transform and the precision (the caller's autocast).
    `$MAEKIT_CACHE/features` may be removed at any time. One of several processes computes and the others wait.

    Args:
        backbone: the frozen ViT; it is moved to `device`.
        pool: runs the backbone: images [B, 3, H, W] to features [B, D].
        data: the images.
        device: where to compute.
        width: D, which tells what `pool` takes of the tokens.

    Raises:
        UserError: an image cannot be read, or the folder cannot be written.
    """
    splits = {"train": data.plain_train_dataset(), "val": data.val_dataset()}
    precision = str(torch.get_autocast_dtype(device.type)) if torch.is_autocast_enabled(device.type) else "float32"
    folder = cache_folder() / "features" / _fingerprint(backbone, splits, precision, width)
    try:
        with locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _compute(backbone, pool, data, device, splits, folder, width)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); make room, or set MAEKIT_CACHE") from None
    return CachedFeatures(data, folder)


def _fingerprint(backbone: ViT, splits: dict[str, DrawDataset], dtype: str, width: int) -> str:
    wider = "" if width == backbone.embed_dim else str(width)  # of one token's width as in earlier versions
    digest = blake2b(_FORMAT + (dtype + wider).encode(), digest_size=12)
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    for images in splits.values():
        digest.update(pickle.dumps(images, protocol=4))  # paths, labels and transform
    return digest.hexdigest()


def _compute(
    backbone: ViT,
    pool: Pool,
    data: TransferData,
    device: torch.device,
    splits: dict[str, DrawDataset],
    folder: Path,
    width: int,
) -> None:
    """Fills a temporary folder beside `folder` and renames it, so that a killed run leaves no incomplete folder."""
    counts = " and ".join(f"{len(images):,} {split}" for split, images in splits.items())
    say(f"cache   {counts} images through the backbone once, without augmentation -> {folder}")
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    mode = backbone.training
    try:
        part.mkdir(parents=True)
        backbone.to(device).eval()
        for split, images in splits.items():
            size, workers = (
                data.device_batch_size if isinstance(data.device_batch_size, int) else 32,
                choose_workers(data.num_workers, 1),
            )
            sampler = EvalSampler(len(images), rank=0, world=1)
            loader = make_loader(images, sampler, size, workers, device.type == "cuda", data.collate)
            _store(loader, pool, width, device, part, split)
        part.rename(folder)
    finally:
        backbone.train(mode)
        shutil.rmtree(part, ignore_errors=True)


def _store(loader: DataLoader[object], pool: Pool, width: int, device: torch.device, folder: Path, split: str) -> None:
    count = len(loader.sampler)  # type: ignore[arg-type]
    features = open_memmap(folder / f"{split}.npy", mode="w+", dtype=np.float32, shape=(count, width))
    labels = np.zeros(count, dtype=np.int64)
    with torch.inference_mode():
        for batch in tracked(loader, f"features of {split}", len(loader), "batch"):
            at = batch.index.numpy()
            features[at] = pool(batch.image.to(device, non_blocking=True)).float().cpu().numpy()
            labels[at] = batch.label.numpy()
    features.flush()
    np.save(folder / f"{split}_labels.npy", labels)
