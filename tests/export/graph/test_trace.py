"""What stays free in a traced graph, what binds it, and adapters."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import maekit
from maekit.backbone.lora import LoraLinear
from maekit.base.exportable import Exportable, compare_outputs, images_of_batch
from maekit.errors import UserError
from maekit.export.graph.check import compare, judge
from maekit.export.graph.metadata import describe
from maekit.export.graph.torch_file import TorchModel, write_torch
from maekit.export.graph.trace import plain_layers, trace
from tests.export.graph.helpers import CLASSES, INPUT, ORIGIN, model, samples
from tests.numeric import assert_float64


def small(module: nn.Module) -> Exportable:
    """A module of pictures of 16 x 16, whose sides may be any multiples of 8, as it says."""
    return Exportable(
        module.eval(),
        ("found",),
        (16, 16),
        3,
        {"family": "none", "input": INPUT},
        torch.tensor,
        images_of_batch,
        lambda ours, theirs: compare_outputs(ours, theirs, ["found"], ours["found"] == theirs["found"]),
        side_multiple=8,
    )


class Free(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return ((images.mean((2, 3)) * self.weight).sum(1),)


class BoundToSize(Free):
    def forward(self, images: Tensor) -> tuple[Tensor]:
        return ((images.flatten(1) * torch.ones(len(images[0].flatten()))).sum(1) * self.weight[0],)


class BoundToBatch(Free):
    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (images.mean((1, 2, 3)) * self.weight[0] + torch.zeros(int(images.shape[0])),)


def test_batch_and_sides_stay_free() -> None:
    program, taken = trace(small(Free()))
    assert taken.side_multiple == 8
    for shape in ((1, 3, 16, 16), (5, 3, 32, 24)):
        images = torch.rand(shape)
        torch.testing.assert_close(program.module()(images)[0], images.mean((2, 3)).sum(1))


def test_code_that_binds_the_size_is_exported_with_a_fixed_one() -> None:
    program, taken = trace(small(BoundToSize()))
    assert taken.side_multiple == 0 and "one size" in taken.fixed_because
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(images)[0], images.sum((1, 2, 3)))
    assert describe(taken, origin={})["size"] == "fixed"


def test_code_that_binds_the_batch_is_refused() -> None:
    with pytest.raises(UserError, match="traced"):
        trace(small(BoundToBatch()))


@pytest.mark.numeric
def test_adapters_are_merged_into_a_copy() -> None:
    """The model that a file is compared with keeps its own, so that a wrong merge would be found."""
    found = model("imagenet_finetune", CLASSES, "--model.lora_rank=2").double().exportable(INPUT)
    assert found is not None
    merged, count = plain_layers(found)
    assert count == 12 and sum(isinstance(layer, LoraLinear) for layer in found.module.modules()) == 12
    assert not any(isinstance(layer, LoraLinear) for layer in merged.module.modules())
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        assert_float64(_logits(merged, images), _logits(found, images))


def _logits(exportable: Exportable, images: Tensor) -> Tensor:
    scores: Tensor = exportable.module.get_submodule("model")(images)
    return scores


@pytest.mark.slow
def test_a_program_of_torch_computes_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = model().exportable(INPUT)
    assert found is not None
    program, taken = trace(found)
    write_torch(program, tmp_path / "model.pt2", describe(taken, origin=ORIGIN))
    file = TorchModel(tmp_path / "model.pt2")
    assert file.metadata["size"] == "any multiples of 8 px from 16 on" and file.metadata["input"] == INPUT
    check = compare(taken, file, samples())
    judge(check, "fp32", None)
    assert check.passed and check.equal == 1.0
    assert str(Path(maekit.__file__).parent).encode() not in (tmp_path / "model.pt2").read_bytes()
    (tmp_path / "damaged.pt2").write_bytes((tmp_path / "model.pt2").read_bytes()[:3000])
    with pytest.raises(UserError, match="damaged"):
        TorchModel(tmp_path / "damaged.pt2")
    assert "Traceback" not in capfd.readouterr().err  # torch logs what it raises
