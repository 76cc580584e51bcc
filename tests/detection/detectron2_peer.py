"""detectron2's own Mask R-CNN on a small ViT, for tests that run where it is installed."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.detection.golden import detection_case as case

INSTALLED = importlib.util.find_spec("detectron2") is not None
SIDE = 128  # pixels of the padded image
NET: dict[str, Any] = {  # windows of three patches and one global block; positions are those of a 4 x 4 grid
    "img_size": SIDE, "patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 2, "window_size": 3,
    "window_block_indexes": [0, 2], "pretrain_img_size": 64, "drop_path_rate": 0.0,
}  # fmt: skip
ANCHORS = [16, 24, 32, 64, 96]


def live(test: Any) -> Any:
    """Marks a test that runs detectron2; its own warnings, and those of what it imports, are not ours to mend."""
    for mark in (
        pytest.mark.detectron2,
        pytest.mark.filterwarnings("ignore"),
        pytest.mark.skipif(not INSTALLED, reason="detectron2 is not installed"),
    ):
        test = mark(test)
    return test


def mask_rcnn(*, filled: bool = True, detector: str = "mask", **net: Any) -> Any:
    """GeneralizedRCNN by detectron2's published configuration of ViTDet, small, with weights no start would give.

    Args:
        filled: whether to put those weights in.
        detector: `mask`, `boxes` without a mask head, or `cascade`.
        net: what to change of its ViT.
    """
    config = importlib.import_module("detectron2.config")
    package = Path(importlib.import_module("detectron2").__file__ or "").parent
    cfg = config.LazyConfig.load(str(package / "model_zoo/configs/common/models/mask_rcnn_vitdet.py")).model
    cfg.backbone.net.update(NET | net)
    cfg.backbone.out_channels, cfg.backbone.square_pad = case.CHANNELS, SIDE
    rpn, roi = cfg.proposal_generator, cfg.roi_heads
    rpn.anchor_generator.sizes = [[size] for size in ANCHORS]
    rpn.head.in_channels = roi.box_head.input_shape.channels = roi.mask_head.input_shape.channels = case.CHANNELS
    roi.box_head.conv_dims, roi.mask_head.conv_dims = [16] * 4, [16] * 5
    roi.box_head.fc_dims, roi.box_predictor.input_shape.channels = [32], 32
    roi.num_classes = case.CLASSES
    if detector == "boxes":
        roi.mask_in_features = roi.mask_pooler = roi.mask_head = None
    if detector == "cascade":
        importlib.import_module("tests.detection.golden.make_detectron2_arrays").make_cascade(roi)
    model = config.instantiate(cfg)
    if filled:
        case.fill(model)
    return model.eval()


def inputs(images: list[Image.Image]) -> list[dict[str, Any]]:
    """RGB images as detectron2's test loader gives them: its own resizing, with what the file's size was."""
    resize = importlib.import_module("detectron2.data.transforms").ResizeShortestEdge(SIDE, SIDE)
    samples = []
    for image in images:
        pixels = np.asarray(image)
        resized = resize.get_transform(pixels).apply_image(pixels)
        planes = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        samples.append({"image": planes, "height": image.height, "width": image.width})
    return samples


def load(model: Any, path: Path) -> tuple[list[str], list[str]]:
    """Loads a file by detectron2's own reader; returns the names that were missing, and those left over."""
    reader = importlib.import_module("detectron2.checkpoint").DetectionCheckpointer(model)
    found = reader._load_model(reader._load_file(str(path)))
    assert not found.incorrect_shapes
    return list(found.missing_keys), list(found.unexpected_keys)
