"""What a user exports: the model of a run, or the features of weights, with the data it was validated on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.commands.shared.loaded_model import load_model
from maekit.commands.shared.prediction_source import EXPORTED
from maekit.errors import UserError
from maekit.runs.checkpoint_path import find_checkpoint, weights_line
from maekit.runs.folder import shown
from maekit.runs.lock import holder

if TYPE_CHECKING:
    from maekit.backbone.protocol import Pooling
    from maekit.base.checkpoint_card import Card
    from maekit.base.data import TransferData
    from maekit.base.exportable import Exportable
    from maekit.base.model import TransferModel

_COLOURS = ("mean", "std", "white", "clip", "bands", "file_bands", "dtype", "unit", "shown_bands")


@dataclass(frozen=True)
class Subject:
    """A model that is exported, or compared with a file.

    Attributes:
        exportable: what of it.
        origin: what the file's metadata say of the weights.
        folder: where the file goes by default.
        lines: for the user: which weights they are.
        model: the run's model; None for weights that are no run's.
        card: of the run's checkpoint; likewise.
        path: the checkpoint or the file of weights.
        task: what `--task` was given, where the task has moved.
    """

    exportable: "Exportable"
    origin: dict[str, object]
    folder: Path
    path: Path
    lines: list[str] = field(default_factory=list)
    model: "TransferModel | None" = None
    card: "Card | None" = None
    task: str | None = None

    @property
    def kind(self) -> str:
        """Returns `predictions` or `features`."""
        return str(self.origin["kind"])

    def data(self, root: str | None) -> "TransferData":
        """Returns the run's data, set up.

        Args:
            root: their folder, if it has moved.

        Raises:
            UserError: there are none, or they are not those of the model.
        """
        from maekit.recipes.tasks import find_task

        if self.card is None:
            raise UserError(f"{self.path.name} is no run's checkpoint, and so has no validation images")
        values: dict[str, Any] = dict(self.card.config["data"])
        if root is not None:
            values["root"] = root
        data: TransferData = find_task(self.task or self.card.task).load().Data(**values)
        data.setup()
        self.card.require_classes(data.spec(), self.path)
        return data


def find_subject(given: str, *, features: bool, task: str | None = None) -> Subject:
    """Finds what the word RUN means, and loads it.

    Args:
        given: a run, a checkpoint, or for features also weights.
        features: what of it is exported: the backbone's features, or what the task predicts.
        task: where the task is now.

    Raises:
        UserError: nothing is there, or it has no export.
    """
    from maekit.base.checkpoint_card import read_card
    from maekit.recipes.tasks import find_task

    if Path(given).suffix in EXPORTED:
        raise UserError(
            f"RUN: got {given}, which is an exported file, expected the run that it is of; to compare it with that, "
            f"add --check {given}"
        )
    try:
        path = find_checkpoint(given, Path("runs"))
        card = read_card(path)
    except UserError as error:
        if features:
            return _of_weights(given)
        line = str(error).replace("--ckpt_path takes", "RUN is")
        raise UserError(f"{line}; weights that are no run's are exported with --features") from error
    name = Path(task or card.task).stem
    if find_task(task or card.task).load().Model.evaluates_only:
        raise UserError(f"the task {name} evaluates only, and has no model of its own; export the run that it measures")
    card.require_task(name, path)
    writer = holder(path.parent)
    lines = [weights_line(path, card.step)]
    if writer is not None:
        lines.append(f"        the run is still being written by {writer}: {path.name} of step {card.step} is exported")
    model, card = load_model(path, "cpu", task)
    origin = {"task": Path(card.task).stem, "recipe": card.recipe, "step": card.step}
    encoder = card.spec.target == "none"
    if features or encoder:
        if encoder and not features:
            lines.append("        a pre-training predicts nothing of an image: its encoder's features are exported")
        exportable = _features_of(model, card)
        return Subject(exportable, {"kind": "features", **origin}, path.parent, path, lines, model, card, task)
    found = model.exportable(card.input)
    if found is None:
        raise UserError(
            f"{shown(path)}: the task {Path(card.task).stem} has no export of its predictions; export the run that its "
            "weights are of, or the backbone alone with --features"
        )
    return Subject(found, {"kind": "predictions", **origin}, path.parent, path, lines, model, card, task)


def _features_of(model: "TransferModel", card: "Card") -> "Exportable":
    from maekit.data.images.transforms import EvalTransform
    from maekit.features.exportable import feature_exportable

    height, width = card.spec.image_size
    dense = "crop_fraction" not in card.input  # its images are not cut to a square; its features are of the whole one
    kept = {name: value for name, value in card.input.items() if not dense or name in _COLOURS}
    transform = EvalTransform(**{"crop_fraction": 1.0, **kept, "image_size": height})
    return feature_exportable(model.backbone, model, model.pooled, transform, transform.describe(), (height, width))


def _of_weights(given: str) -> Subject:

    from maekit.features.exportable import feature_exportable
    from maekit.features.source import find_source

    source = find_source(given)
    transform = source.transform()
    size = transform.image_size
    backbone = source.load(size)
    how: Pooling = "mean" if source.mean_pooled or not backbone.has_class_token else "class"

    def pooled(images: Any) -> Any:
        return backbone.pool(backbone(images).tokens, how)

    exportable = feature_exportable(backbone, backbone, pooled, transform, transform.describe(), (size, size))
    origin: dict[str, object] = {"kind": "features", "weights": Path(source.given).name, "pooling": how}
    lines = [f"weights {source.given}", *(f"        {line}" for line in source.assumed)]
    return Subject(exportable, origin, Path(), source.path, lines)
