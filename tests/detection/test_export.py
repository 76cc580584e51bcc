"""Detectors as ONNX files and torch.export's: the same objects in batches of any size, few objects and none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from maekit.export.graph.check import compare, judge
from maekit.export.graph.make import Wanted, write
from maekit.export.graph.quantise import reduce_precision
from maekit.export.graph.run import OnnxModel, open_graph
from maekit.export.graph.samples import Samples
from tests.detection.helpers_graph import exportable, pictures

pytestmark = [pytest.mark.slow, pytest.mark.numeric]


def samples(*counts: int) -> Samples:
    return Samples([pictures(count, seed=count) for count in counts], "noise", real=False)


@pytest.mark.parametrize(("kind", "ending"), [("mask", ".onnx"), ("cascade", ".onnx"), ("cascade of boxes", ".pt2")])
def test_a_file_finds_the_objects_of_its_run(kind: str, ending: str, tmp_path: Path) -> None:
    wanted = Wanted("onnx" if ending == ".onnx" else "torch", tmp_path / "wanted" / f"model{ending}")
    origin: dict[str, object] = {"kind": "predictions", "task": "coco_maskrcnn"}
    file, found, _ = write(exportable(kind), wanted, tmp_path, origin)
    graph = open_graph(file)
    check = compare(found, graph, samples(1, 2, 5, 8))
    judge(check, "fp32", None)
    assert check.passed and check.num_counted > 100 and check.equal > 0.99
    assert set(check.differences) == {"boxes", "scores", *(["masks"] if "boxes" not in kind else [])}
    nothing = graph(torch.zeros(2, 3, 64, 64), torch.ones(2, 2, dtype=torch.int64))
    assert nothing["count"].shape == (2,) and not nothing["boxes"].isnan().any()
    if ending == ".onnx" and kind == "mask":
        _a_changed_weight_is_found(file, tmp_path)
        _boxes_are_not_of_float16(file, tmp_path)


def _a_changed_weight_is_found(file: Path, folder: Path) -> None:
    proto = onnx.load(str(file))
    (tensor,) = [each for each in proto.graph.initializer if each.name.endswith("box_predictor.bbox_pred.bias")]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.05), tensor.name))
    onnx.save(proto, str(folder / "broken.onnx"))
    check = compare(exportable("mask"), OnnxModel(folder / "broken.onnx"), samples(4))
    judge(check, "fp32", None)
    assert not check.passed and check.differences["boxes"] > 1e-3


def _boxes_are_not_of_float16(file: Path, folder: Path) -> None:
    """Its steps are of a thirty-second of a pixel here, and of a whole one in images of 1024."""
    reduce_precision(file, folder / "half.onnx", "fp16")
    found = OnnxModel(folder / "half.onnx")(*pictures(4))
    boxes = np.concatenate(
        [image[:count] for image, count in zip(found["boxes"].numpy(), found["count"].tolist(), strict=True)]
    )
    inside = boxes[boxes != boxes.round()]  # corners at a picture's side are whole numbers
    assert len(inside) > 50 and np.mean(inside == inside.astype(np.float16)) < 0.05
