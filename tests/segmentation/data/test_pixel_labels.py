"""What the commands on frozen features are told of pixels is what a run is trained and validated on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.spec import Draw
from maekit.segmentation.data.ade20k import ADE20K
from maekit.segmentation.data.folders import SegmentationFolders
from maekit.segmentation.metrics import SegmentationMetrics
from tests.segmentation.data.helpers import build, own, save_label

COLOURS = np.array([(0, 0, 255), (128, 64, 128), (255, 0, 0)], np.uint8)


def compare(data: SegmentationFolders) -> None:
    labels = data.pixel_labels()
    for known, dataset in ((labels.train, data.plain_train_dataset()), (labels.val, data.val_dataset())):
        assert len(known) == len(dataset) > 0
        for index, path in enumerate(dataset.pairs.image_paths()):
            number = known[str(Path(path).resolve())]
            assert np.array_equal(labels.read(number), dataset[Draw(0, index)].label.numpy())
    assert labels.class_names == data.spec().class_names


@pytest.mark.parametrize("colours", [False, True])
def test_label_maps_are_those_of_the_evaluation(root: Path, colours: bool) -> None:
    compare(build(root, ADE20K))
    root = own(root)
    if colours:
        for path in root.glob("masks/*/*.png"):
            save_label(path, COLOURS[np.minimum(np.asarray(Image.open(path)), 2)])
        (root / "colours.csv").write_text("sky,0,0,255\nsea,#804080\nsand,255,0,0\n")
    compare(build(root, SegmentationFolders))


def test_a_fold_is_the_runs_own(root: Path) -> None:
    root = own(root)
    for part in ("images", "masks"):
        for path in (root / part / "val").iterdir():
            path.rename(root / part / "train" / path.name)
        (root / part / "val").rmdir()
    changes: dict[str, Any] = {"fold": "2/3", "allow_empty": True}
    compare(build(root, SegmentationFolders, **changes))


def test_the_metric_is_that_of_a_validation(root: Path) -> None:
    labels = build(root, ADE20K).pixel_labels()
    metric, expected = labels.new_metric(), SegmentationMetrics(len(labels.class_names))
    draws = torch.Generator().manual_seed(0)
    for number in labels.val.values():
        truth = torch.from_numpy(labels.read(number)).long()
        predicted = torch.randint(0, len(labels.class_names), truth.shape, generator=draws)
        metric.update(predicted, truth)
        expected.update(predicted, truth)
    assert metric.compute() == expected.compute()
