"""ViTs of other pre-trainings as ONNX: their positions and attention, at sizes that they were not traced with."""

from pathlib import Path

import pytest
import torch

from maekit.backbone.protocol import Pooling
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.export.graph.check import compare, judge
from maekit.export.graph.make import Wanted, write
from maekit.export.graph.run import OnnxModel
from maekit.features.exportable import feature_exportable
from tests.export.graph.helpers import samples

KINDS = {
    "vit_test_patch8_dinov2": 8,
    "vit_test_patch8_reg4_dinov2": 8,
    "vit_test_plus_patch8_dinov3": 8,
    "vit_test_patch8_beit": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_vit_computes_the_same_as_onnx(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vit = ViT(load_size(kind), image_size=(16, 16)).eval()
    with torch.no_grad():
        for parameter in vit.parameters():  # LayerScale and tables of biases begin where nothing is seen of them
            parameter.add_(0.05 * torch.randn_like(parameter))
    how: Pooling = "class" if vit.has_class_token else "mean"
    found = feature_exportable(vit, vit, lambda images: vit.pool(vit(images).tokens, how), torch.tensor, {}, (16, 16))
    wanted = Wanted("onnx", tmp_path / "wanted" / "features.onnx")
    file, taken, _ = write(found, wanted, tmp_path, {"kind": "features"})
    assert taken.side_multiple == KINDS[kind]
    check = compare(taken, OnnxModel(file), samples())
    judge(check, "fp32", None)
    assert check.passed and check.equal == 1.0
    assert len(check.shapes) == (6 if KINDS[kind] else 4)
