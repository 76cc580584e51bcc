"""The label maps of both splits for the commands on frozen features."""

import os
from collections.abc import Iterator

import numpy as np

from maekit.base.pixel_labels import PixelLabels
from maekit.segmentation.data.labels.label_maps import LabelMaps
from maekit.segmentation.data.labels.read import read_label
from maekit.segmentation.data.layout.layout import Pairs
from maekit.segmentation.metrics import SegmentationMetrics


def pixel_labels_of(maps: LabelMaps) -> PixelLabels:
    """Returns the label maps of a data set, read as a run reads them, with the metric of a validation."""
    tree = maps.tree
    train, val = tree.train.pairs, tree.val.pairs

    def read(number: int) -> np.ndarray:
        pairs, index = (train, number) if number < len(train) else (val, number - len(train))
        return read_label(pairs.label(index), maps.coding, pairs.colours)

    return PixelLabels(
        tree.names,
        dict(_numbered(train, 0)),
        dict(_numbered(val, len(train))),
        read,
        lambda: SegmentationMetrics(len(tree.names)),
    )


def _numbered(pairs: Pairs, first: int) -> Iterator[tuple[str, int]]:
    folder = pairs.images.resolve()
    return ((os.path.normpath(folder / name), number) for number, name in enumerate(pairs.image_names, first))
