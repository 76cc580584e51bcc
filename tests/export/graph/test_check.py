"""The comparison of a file with its model finds what differs, and judges by its precision."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from maekit.base.exportable import largest_difference
from maekit.errors import UserError
from maekit.export.graph.check import Check, compare, judge
from maekit.export.graph.make import Wanted, checks_of, settle
from maekit.export.graph.metadata import describe, read_metadata, require_same
from maekit.export.graph.run import OnnxModel
from tests.export.graph.helpers import ORIGIN, exported, noise, samples

pytestmark = pytest.mark.numeric


def test_a_whole_file_passes() -> None:
    exportable, file = exported()
    check = compare(exportable, OnnxModel(file), samples())
    judge(check, "fp32", None)
    assert check.passed and 0 < check.difference < 1e-4
    assert (check.equal, check.num_counted, check.images) == (1.0, 6, 6)
    assert check.shapes == [[4, 16, 16], [2, 16, 16], [1, 16, 16], [3, 16, 16], [2, 24, 32], [2, 16, 24]]
    assert check.ms_file > 0 and check.ms_torch > 0
    assert check.megabytes == pytest.approx(file.stat().st_size / 1e6)


@pytest.mark.parametrize("wrong", ["classifier", "norm", "patches"])
def test_weights_changed_after_the_export_are_found(wrong: str, tmp_path: Path) -> None:
    """A single tensor is moved by a hundredth, as a bad conversion or a damaged disk might."""
    exportable, file = exported()
    proto = onnx.load(str(file))
    named = {"classifier": "head.fc.bias", "norm": "blocks.2.norm2.weight", "patches": "patch_embed.proj.bias"}[wrong]
    (tensor,) = [tensor for tensor in proto.graph.initializer if tensor.name.endswith(named)]
    values = numpy_helper.to_array(tensor) + np.float32(0.01) * np.arange(tensor.dims[-1], dtype=np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, str(tmp_path / "broken.onnx"))
    check = compare(exportable, OnnxModel(tmp_path / "broken.onnx"), samples())
    judge(check, "fp32", None)
    assert not check.passed and check.difference > 1e-3


def test_a_file_bound_to_one_size_is_found(tmp_path: Path) -> None:
    """As tracers make them: the numbers are right at the traced size, and nothing comes out at another."""
    exportable, file = exported()
    proto = onnx.load(str(file))
    for value in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        value.dim_value = 16
    onnx.save(proto, str(tmp_path / "bound.onnx"))
    with pytest.raises(UserError, match="expected 16"):
        compare(exportable, OnnxModel(tmp_path / "bound.onnx"), samples())


def test_a_difference_is_of_the_largest_value_above_one() -> None:
    a = np.array([[1.0, -200.0]])
    assert largest_difference(a, a + [[0.0, 0.5]]) == pytest.approx(0.5 / 200)
    assert largest_difference(a / 1000, a / 1000 + 0.01) == pytest.approx(0.01)
    assert largest_difference(a, np.array([[1.0, np.nan]])) == float("inf")
    assert largest_difference(a, a[:, :1]) == float("inf")
    assert largest_difference(np.array([np.nan]), np.array([np.nan])) == 0.0


def found(**values: object) -> Check:
    return Check("model.onnx", "noise", 4, **{"differences": {"logits": 0.0}, "equal": 1.0, **values})  # type: ignore[arg-type]


def metric(worse: float) -> dict[str, object]:
    return {"name": "top1", "worse": worse}


@pytest.mark.parametrize(
    ("check", "precision", "limit", "passed"),
    [
        (found(differences={"logits": 1e-4}), "fp32", None, True),
        (found(differences={"logits": 1e-4, "masks": 1.1e-4}), "fp32", None, False),
        (found(differences={"logits": 1e-3}), "fp32", 1e-2, True),
        (found(differences={"logits": float("nan")}), "fp32", None, False),
        (found(differences={"logits": 1.0}, metric=metric(0.009)), "int8", None, True),
        (found(metric=metric(0.011)), "int8", None, False),
        (found(metric=metric(float("nan"))), "fp16", None, False),
        (found(metric=metric(-0.5)), "fp16", 0.0, True),
        (found(equal=0.992), "fp16", None, True),
        (found(equal=0.98), "int8", None, False),
        (found(equal=0.98), "int8", 0.03, True),
    ],
)
def test_precision_decides_by_what_a_file_is_judged(
    check: Check, precision: str, limit: float | None, passed: bool
) -> None:
    judge(check, precision, limit)
    assert check.passed is passed and bool(check.why) is not passed


def test_a_refused_file_gets_another_name(tmp_path: Path) -> None:
    wanted = Wanted("onnx", tmp_path / "model.onnx")
    for passed, name in ((False, "model.refused.onnx"), (True, "model.onnx")):
        made = tmp_path / "work.onnx"
        made.write_bytes(b"x")
        place = settle(made, wanted.out, Check("work.onnx", "noise", 4, passed=passed))
        assert place == tmp_path / name and place.read_bytes() == b"x" and not made.exists()
        assert f'"file": "{name}"' in checks_of(place).read_text()
    with pytest.raises(UserError, match="exists already"):
        Wanted("onnx", tmp_path / "model.onnx")
    made.write_bytes(b"y")
    with pytest.raises(UserError, match="exists already"):  # taken by an export at the same time
        settle(made, wanted.out, Check("work.onnx", "noise", 4, passed=True))
    assert wanted.out.read_bytes() == b"x"
    with pytest.raises(UserError, match=r"\.pt2"):
        Wanted("torch", tmp_path / "new.onnx")


def test_a_file_of_another_model_is_refused() -> None:
    exportable, file = exported()
    own = describe(exportable, origin=ORIGIN)
    require_same(OnnxModel(file).metadata, own, "x.onnx")
    for key, value in (("task", "other"), ("class_names", ["a"]), ("kind", "features"), ("channels", 4)):
        with pytest.raises(UserError, match=key):
            require_same(OnnxModel(file).metadata, {**own, key: value}, "x.onnx")


def test_a_file_of_a_newer_maekit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    whole = {"format": 1, "maekit": "0.1", **OnnxModel(exported()[1]).metadata}
    text = json.dumps(whole)
    assert read_metadata(text, file) == whole
    with pytest.raises(UserError, match="format 2"):
        read_metadata(text.replace('"format": 1', '"format": 2'), file)
    del whole["input"]
    for others in ("", "[]", "{}", '{"format": 1}', json.dumps(whole)):
        with pytest.raises(UserError, match="got metadata without"):
            read_metadata(others, file)


def test_a_check_leaves_the_model_as_it_was() -> None:
    exportable, file = exported()
    before = {name: tensor.clone() for name, tensor in exportable.module.state_dict().items()}
    compare(exportable, OnnxModel(file), samples(noise(1)))
    torch.testing.assert_close(dict(exportable.module.state_dict()), before, rtol=0, atol=0)
