"""What `maekit predict` predicts with: a checkpoint's model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.base.predict_options import PredictOptions
from maekit.base.tile_options import TileOptions
from maekit.commands.shared.loaded_model import load_model
from maekit.commands.shared.results_folder import Record
from maekit.errors import UserError
from maekit.runs.checkpoint_path import find_checkpoint, weights_line

if TYPE_CHECKING:
    import torch

    from maekit.base.shown import PredictionWriter, Predictor, TiledPredictor

EXPORTED = (".onnx", ".pt2")


@dataclass(frozen=True)
class PredictionSource:
    """A model that predicts images, and what writes its predictions.

    Attributes:
        predictor: of images.
        writer: makes what writes predictions into a folder.
        input: the input transform that the model was evaluated with.
        device: that it runs on.
        record: tells its results from another model's.
        line: that says which file was chosen.
        tiled: makes what predicts images larger than memory; it gives None for a task of one result an image.
    """

    predictor: "Predictor"
    writer: "Callable[[Path, PredictOptions], PredictionWriter]"
    input: Mapping[str, Any]
    device: "torch.device"
    record: Record
    line: str
    tiled: "Callable[[TileOptions], TiledPredictor | None]" = lambda options: None


def find_model(given: str) -> Path:
    """Returns the file that `--model` means; nothing is read.

    Raises:
        UserError: there is no such file.
    """
    try:
        return find_checkpoint(given, Path("runs"))
    except UserError as error:  # other commands call this flag by its older name
        raise UserError(str(error).replace("--ckpt_path", "--model")) from None


def open_source(path: Path, device: str, task: str | None) -> PredictionSource:
    """Loads a model from its file.

    Args:
        path: the checkpoint.
        device: as `choose_device` takes it.
        task: a name or a task.py in place of the one that is recorded.

    Raises:
        UserError: it cannot be read, or is no model of a run.
    """
    if path.suffix in EXPORTED:
        return _exported(path, device, task)
    model, card = load_model(path, device, task)
    shown = model.shown()
    return PredictionSource(
        shown.predictor(card.input),
        shown.prediction_writer,
        card.input,
        next(model.parameters()).device,
        {"checkpoint": str(path), "step": card.step, "task": card.task},
        weights_line(path, card.step),
        partial(shown.tiled_predictor, card.input),
    )


def _exported(path: Path, device: str, task: str | None) -> PredictionSource:
    """Opens a file of `maekit export` with the predictor of its family; none of the model's own code is used."""
    import torch

    from maekit.export.graph.run import open_graph
    from maekit.runs.folder import shown

    if device not in ("auto", "cpu"):
        raise UserError(f"got --device {device} with the exported file {path}, which runs on the CPU; leave it out")
    if task is not None:
        raise UserError(f"got --task {task} with the exported file {path}, expected none: the file says what it is")
    graph = open_graph(path)
    about = graph.metadata
    family = str(about.get("family"))
    place = f"maekit.{family}.onnx_predictor"
    if about.get("kind") != "predictions" or not family.isidentifier() or find_spec(place) is None:
        raise UserError(f"{path} gives {about.get('kind')}, expected predictions; export the run without --features")
    module = import_module(place)
    task, step = str(about.get("task")), int(about.get("step", 0))
    return PredictionSource(
        module.predictor_of(graph),
        partial(module.writer_of, graph),
        about["input"],
        torch.device("cpu"),
        {"checkpoint": str(path.resolve()), "step": step, "task": task, "precision": str(about.get("precision"))},
        f"model   {shown(path)} ({about.get('precision')}; task {task}, step {step})",
        partial(module.tiled_of, graph),
    )
