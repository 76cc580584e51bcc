"""The tensors of a large file lie beside it: they are told from another model's, and go by the name it knows."""

import shutil
from pathlib import Path

import onnx
import pytest
import torch

from maekit.errors import UserError
from maekit.export.graph.check import Check, parts
from maekit.export.graph.make import settle
from maekit.export.graph.run import OnnxModel
from maekit.export.graph.tensors import PIECE, PIECES, data_of, fingerprint, keep_tensors
from tests.export.graph.helpers import exported, noise


def split(folder: Path, name: str = "model.onnx") -> Path:
    """The small classifier with its tensors in a second file, as those of a large model are."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    proto = onnx.load(str(exported()[1]))
    onnx.save(proto, str(path), save_as_external_data=True, location=f"{name}.data", size_threshold=256)
    keep_tensors(path, data_of(path).name)
    return path


def test_a_split_file_computes_the_same_elsewhere_and_under_another_name(tmp_path: Path) -> None:
    path, moved = split(tmp_path / "one"), tmp_path / "two"
    assert path.stat().st_size < data_of(path).stat().st_size
    shutil.copytree(path.parent, moved)
    renamed = (moved / "model.onnx").rename(moved / "other.onnx")
    file = OnnxModel(renamed)
    images = noise(2)
    assert torch.equal(file(images)["logits"], OnnxModel(exported()[1])(images)["logits"])
    assert parts(file) == [renamed, moved / "model.onnx.data"]


def test_tensors_that_are_missing_renamed_or_anothers_are_refused_in_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = split(tmp_path)
    data, kept = data_of(path), data_of(path).read_bytes()
    data.rename(tmp_path / "renamed.data")
    with pytest.raises(UserError, match=r"model\.onnx\.data, which is not beside it"):
        OnnxModel(path)
    others = bytes(255 - byte for byte in kept)
    for changed, fact in ((others, "another model's"), (kept + b"0" * 8, "bytes"), (kept[:900], "of 900 bytes")):
        data.write_bytes(changed)
        with pytest.raises(UserError, match=fact) as raised:
            OnnxModel(path)
        assert "copy both" in str(raised.value) and "\n" not in str(raised.value)
    data.write_bytes(kept)
    OnnxModel(path)
    assert not capfd.readouterr().err  # onnxruntime prints what it raises


@pytest.mark.parametrize(("passed", "name"), [(True, "wanted.onnx"), (False, "wanted.refused.onnx")])
def test_both_files_get_their_names(passed: bool, name: str, tmp_path: Path) -> None:
    made = split(tmp_path / "work", "wanted.onnx")
    place = settle(made, tmp_path / "wanted.onnx", Check("wanted.onnx", "noise", 4, passed=passed))
    assert place.name == name and not list((tmp_path / "work").iterdir())
    assert sorted(file.name for file in tmp_path.glob("wanted*")) == sorted(
        [name, f"{name}.data", f"{place.stem}.check.json"]
    )
    OnnxModel(place)


def test_a_fingerprint_reads_first_and_last_bytes_of_a_large_file(tmp_path: Path) -> None:
    file = tmp_path / "tensors"
    size = 3 * PIECES * PIECE
    file.write_bytes(bytes(size))
    before = fingerprint(file)
    for place in (0, size - 1):
        file.write_bytes(bytes(place) + b"1" + bytes(size - place - 1))
        assert fingerprint(file) != before
