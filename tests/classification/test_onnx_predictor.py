"""What a file of outputs gives is what the checkpoint's own model predicts, of every target of an image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.base.spec import DataSpec
from maekit.classification.onnx_predictor import predictor_of, writer_of
from maekit.errors import UserError
from tests.export.graph.helpers import INPUT, model

TASKS = {
    "imagenet_finetune": DataSpec(("a", "b", "c"), (16, 16)),
    "multilabel_finetune": DataSpec(("a", "b", "c"), (16, 16), target="labels"),
    "regression_finetune": DataSpec(
        (), (16, 16), target="values", value_names=("age", "weight"), value_mean=(50.0, -3.0), value_std=(20.0, 0.5)
    ),
    "ordinal_finetune": DataSpec(("low", "mid", "high"), (16, 16), target="grades"),
}


class InProcess:
    """A file that is none: it computes with the exported module itself, and its metadata are the file's."""

    def __init__(self, task: str) -> None:
        self.model = model(task, TASKS[task])
        found = self.model.exportable(INPUT)
        assert found is not None
        self.exportable, self.path, self.metadata = found, Path("model.onnx"), dict(found.metadata)

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            found = self.exportable.module(*inputs)
        return dict(zip(self.exportable.outputs, found, strict=True))


def pictures() -> list[Image.Image]:
    numbers = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in numbers]


def values_of(prediction: Any) -> list[np.ndarray]:
    return [np.asarray(value) for value in vars(prediction).values()]


@pytest.mark.parametrize("task", TASKS)
def test_predictions_and_files_are_those_of_the_model(task: str, tmp_path: Path) -> None:
    file, cpu = InProcess(task), torch.device("cpu")
    shown = file.model.shown()
    results = []
    for name, predictor, writer in (
        ("file", predictor_of(file), writer_of(file, tmp_path / "file", PredictOptions())),
        ("model", shown.predictor(INPUT), shown.prediction_writer(tmp_path / "model", PredictOptions())),
    ):
        samples = [predictor.prepare(picture) for picture in pictures()]
        found = list(predictor.predict(samples, cpu))
        for number, (sample, prediction) in enumerate(zip(samples, found, strict=True)):
            writer.write(Path(f"{number}.png"), sample.picture, prediction)
        writer.close()
        results.append((found, (tmp_path / name / "predictions.csv").read_text()))
    (ours, our_table), (theirs, their_table) = results
    for one, other in zip(ours, theirs, strict=True):
        assert type(one) is type(other)
        for a, b in zip(values_of(one), values_of(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert our_table == their_table and len(our_table.splitlines()) == 6


def test_another_target_is_refused() -> None:
    file = InProcess("imagenet_finetune")
    file.metadata["target"] = "none"
    with pytest.raises(UserError, match="predicts none"):
        predictor_of(file)


@pytest.mark.parametrize("task", TASKS)
def test_equal_predictions_are_counted_by_what_is_predicted(task: str) -> None:
    """The same outputs are equal; outputs of other images are not, and differ."""
    file = InProcess(task)
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ours = {name: value.numpy() for name, value in file(images).items()}
    same = file.exportable.compare(ours, ours)
    assert (same.equal, same.count) == (6, 6) and set(same.differences.values()) == {0.0}
    moved = {name: np.roll(value, 1, axis=-1) if value.ndim == 2 else (value + 1) % 3 for name, value in ours.items()}
    other = file.exportable.compare(ours, moved)
    assert other.equal < 6 and max(other.differences.values()) > 1e-4


@pytest.mark.parametrize("task", TASKS)
def test_metrics_of_a_file_are_those_of_its_outputs(task: str) -> None:
    """With the model's weights wiped, its metrics come from the file alone."""
    file = InProcess(task)
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = file.model(images)
    known = file(images)
    with torch.no_grad():
        for name, parameter in file.model.named_parameters():
            if "thresholds" not in name:
                parameter.zero_()
    assert file.exportable.evaluated_with is not None
    with torch.no_grad():
        with file.exportable.evaluated_with(lambda *inputs: known):
            torch.testing.assert_close(file.model(images), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(file.model(images), expected)
