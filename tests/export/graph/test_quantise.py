"""Files of fewer bits take and give float32, keep their metadata, and are smaller and near."""

from pathlib import Path

import onnx
import pytest
import torch

from maekit.errors import UserError
from maekit.export.graph.make import Wanted, write
from maekit.export.graph.quantise import Precision, reduce_precision, require_reducible
from maekit.export.graph.run import OnnxModel
from tests.export.graph.helpers import INPUT, ORIGIN, exported, model, noise

# Of logits of a few units: float16 has 11 bits; int8 weights are off by up to 1/254 of a channel's largest.
NEAR: dict[Precision, float] = {"fp16": 0.03, "int8": 0.15}


@pytest.mark.parametrize("precision", NEAR)
def test_fewer_bits_are_near_at_every_size(precision: Precision, tmp_path: Path) -> None:
    exportable, whole = exported()
    file = tmp_path / "small.onnx"
    assert reduce_precision(whole, file, precision)
    assert OnnxModel(file).metadata == OnnxModel(whole).metadata
    assert file.stat().st_size < whole.stat().st_size
    for images in (noise(5), noise(1, 24, 40)):
        with torch.no_grad():
            logits, _ = exportable.module(images)
        found = OnnxModel(file)(images)["logits"]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, logits, rtol=0, atol=NEAR[precision])
        assert not torch.equal(found, logits)


def test_int8_quantises_layers_and_nothing_else(tmp_path: Path) -> None:
    """Three blocks of four layers; the classifier's three outputs are too few, and positions are no layer."""
    file = tmp_path / "small.onnx"
    assert "12 layers" in reduce_precision(exported()[1], file, "int8")
    proto = onnx.load(str(file))
    tensors = [tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    shapes = sorted(tuple(tensor.dims) for tensor in tensors if len(tensor.dims) == 2)
    assert shapes == sorted([(48, 144), (48, 48), (48, 192), (192, 48)] * 3)


def test_a_model_that_is_too_large_is_refused_before_it_is_traced(tmp_path: Path) -> None:
    """The converters load a model as one message of protobuf, which holds 2 GB."""
    with pytest.raises(UserError, match=r"2\.5 GB"):
        require_reducible(2_527_000_000, "int8")
    require_reducible(2_527_000_000, "fp32")
    large = model()
    large.backbone.register_module("norm", torch.nn.Linear(30_000, 30_000, device="meta"))
    found = large.exportable(INPUT)
    assert found is not None
    with pytest.raises(UserError, match=r"3\.6 GB"):
        write(found, Wanted("onnx", tmp_path / "model.onnx", "fp16"), tmp_path, ORIGIN)
    assert not list(tmp_path.iterdir())
