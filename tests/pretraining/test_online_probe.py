"""The check of frozen features: right, and without a trace in the run."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.classification.data.imagenet import ImageNet
from maekit.cli import main
from maekit.data.folder_dataset import FolderDataset
from maekit.data.images.batch import Sample
from maekit.data.images.transforms import EvalTransform
from maekit.pretraining.online_probe import probe_accuracies
from tests.conftest import few_digits

SMALL = (
    "--model.backbone=vit_test_patch8", "--data.total_batch_size=200", "--data.device_batch_size=200",
    "--data.num_workers=0", "--data.image_size=32", "--trainer.max_steps=3", "--trainer.val_check_interval=2",
    "--trainer.log_every_n_steps=1", "--trainer.limit_val_batches=1",
)  # fmt: skip


def datasets() -> tuple[FolderDataset, FolderDataset]:
    transform = EvalTransform(image_size=8, crop_fraction=1.0, mean=[0.5] * 3, std=[0.25] * 3)
    train, val = ImageNet.read_tree(few_digits())
    assert val is not None
    return FolderDataset(train, transform, None), FolderDataset(val, transform, None)


def measure(images: int) -> dict[str, float]:
    def pixels(batch: Tensor) -> Tensor:
        return batch.mean(1).flatten(1)

    return probe_accuracies(
        pixels, *datasets(), images=images, neighbours=3, device=torch.device("cpu"), num_workers=0
    )  # fmt: skip


def test_accuracies_are_those_of_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, val = datasets()
    grey = [np.stack([d[(0, i)][0].mean(0).flatten().numpy() for i in range(len(d))]) for d in map(Plain, (train, val))]
    found = measure(1000)
    knn = KNeighborsClassifier(3, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    expected = knn.fit(grey[0], train.listing.labels).score(grey[1], val.listing.labels)
    assert found["knn_top1"] == pytest.approx(100 * expected)
    assert found["probe_top1"] > 60
    assert found.keys() == {"knn_top1", "probe_top1"}


class Plain:
    """A data set addressed by plain pairs."""

    def __init__(self, data: FolderDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, draw: tuple[int, int]) -> Sample:
        from maekit.base.spec import Draw

        return self.data[Draw(*draw)]


def test_no_generator_is_moved() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    measure(30)
    assert random.getstate() == before[0]
    assert str(np.random.get_state()) == str(before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_run_is_the_same_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with_probe = (f"--data.probe_root={few_digits()}", "--model.probe_images=40", "--model.probe_neighbours=5")
    for flags in (with_probe, ("--data.probe_root=null",)):
        assert main(["fit", "--task", "mae_pretrain", "--recipe", "smoke", *SMALL, *flags]) == 0
    rows = []
    for number in (0, 1):
        folder = tmp_path / "runs" / "mae_pretrain" / "smoke" / str(number)
        with (folder / "train.csv").open() as file:
            rows.append([row["loss"] for row in csv.DictReader(file)])
        with (folder / "val.csv").open() as file:
            found = list(csv.DictReader(file))
        assert [row["step"] for row in found] == ["2", "3"]
        assert ("knn_top1" in found[0]) == (number == 0)
        states = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
        rows[-1].append(str([t.double().sum().item() for t in states.values()]))
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4
