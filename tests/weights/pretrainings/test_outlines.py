"""The ViT of a file is known from names and shapes alone, in every layout: fit reads no file of 2.5 GB twice."""

from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file

from maekit.weights.state.backbone_of import backbones_of
from maekit.weights.state.state_file import read_state
from tests.helpers_backbones import FILES
from tests.weights.helpers import encoder, released
from tests.weights.pretrainings.models import HF, TIMM, hf_model, timm_model


def files(folder: Path) -> Iterator[tuple[Path, str]]:
    """A file or folder in each layout, and the row that it is of."""
    yield released(folder / "mae.pth", encoder()), "vit_test_patch8"
    for name, write in FILES.items():
        yield write(folder / f"{name}.pth"), name
    for kind, (_, _, row) in TIMM.items():
        save_file(timm_model(kind).state_dict(), folder / f"{kind}.safetensors")
        yield folder / f"{kind}.safetensors", row
    for kind, (_, _, row) in HF.items():
        hf_model(kind).save_pretrained(folder / kind)
        yield folder / kind, row


def test_no_number_is_read_and_the_row_is_the_same(tmp_path: Path) -> None:
    for path, row in files(tmp_path):
        outline = read_state(path, values=False)
        assert all(tensor.is_meta for tensor in outline.tensors.values()), path
        shapes = {name: tensor.shape for name, tensor in outline.tensors.items()}
        assert shapes == {name: tensor.shape for name, tensor in read_state(path).tensors.items()}, path
        assert row in backbones_of(path), path
