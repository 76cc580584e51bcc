"""An ONNX file computes what the model does, for any number of images and any size."""

import json
from pathlib import Path

import onnx
import pytest
import torch

import maekit
from maekit.errors import UserError
from maekit.export.graph.metadata import KEY
from maekit.export.graph.onnx_file import DEFAULT_OPSET, check_opset
from maekit.export.graph.run import OnnxModel, open_graph
from tests.export.graph.helpers import CLASSES, INPUT, exported, noise

pytestmark = pytest.mark.numeric
# Logits of a few units, in fp32 by other kernels: a hundred roundings of 1e-7 each are far below it.
TOLERANCE = 1e-4


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
@pytest.mark.parametrize("size", [(16, 16), (24, 40), (48, 16)])
def test_batches_and_sizes_are_free(batch: int, size: tuple[int, int]) -> None:
    exportable, file = exported()
    images = noise(batch, *size)
    with torch.no_grad():
        logits, probabilities = exportable.module(images)
    found = OnnxModel(file)(images)
    assert list(found) == ["logits", "probabilities"]
    torch.testing.assert_close(found["logits"], logits, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(found["probabilities"], probabilities, rtol=0, atol=TOLERANCE)


def test_the_file_says_how_images_are_prepared_and_what_its_outputs_are() -> None:
    file = exported()[1]
    proto = onnx.load(str(file), load_external_data=False)
    (kept,) = [prop.value for prop in proto.metadata_props if prop.key == KEY]
    metadata = json.loads(kept)
    assert metadata == OnnxModel(file).metadata
    assert metadata["input"] == INPUT and metadata["class_names"] == list(CLASSES.class_names)
    assert metadata["outputs"] == ["logits", "probabilities"] and metadata["image_size"] == [16, 16]
    assert (metadata["opset"], metadata["precision"], metadata["batch"]) == (DEFAULT_OPSET, "fp32", "any")
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == DEFAULT_OPSET
    assert str(Path(maekit.__file__).parent).encode() not in file.read_bytes()  # nor any other folder of its maker
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    axes = [axis.dim_param or axis.dim_value for axis in proto.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]


@pytest.mark.parametrize("opset", [0, 17, 24, 99])
def test_an_unknown_opset_is_refused(opset: int) -> None:
    with pytest.raises(UserError, match="18 to 23"):
        check_opset(opset)


def test_other_files_are_refused(tmp_path: Path) -> None:
    stranger, damaged, text = (tmp_path / name for name in ("stranger.onnx", "damaged.onnx", "model.txt"))
    proto = onnx.load(str(exported()[1]))
    del proto.metadata_props[:]
    onnx.save(proto, str(stranger))
    damaged.write_bytes(exported()[1].read_bytes()[:5000])
    text.write_text("x")
    missing = tmp_path / "missing.onnx"
    refused = ((stranger, "did not write"), (damaged, "cannot open"), (text, "txt"), (missing, "no exported"))
    for file, fact in refused:
        with pytest.raises(UserError, match=fact):
            open_graph(file)
    with pytest.raises(UserError, match="expected 3"):
        OnnxModel(exported()[1])(torch.zeros(1, 4, 16, 16))
