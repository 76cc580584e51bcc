"""What a checkpoint says of itself: task, recipe, configuration, class names, input transform."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maekit.base.spec import RGB, DataSpec
from maekit.errors import UserError
from maekit.recipes.moved import in_todays_form
from maekit.weights.read.safe_load import load_file
from maekit.weights.state.start import Start, start_in

KEY = "maekit"
NO_CLASSES = ("image",)  # what data without classes had instead of none in checkpoints of earlier versions


@dataclass(frozen=True)
class Card:
    """The card of one checkpoint, enough to predict and validate with nothing else.

    Attributes:
        task: what `--task` was given.
        recipe: the recipe's name.
        config: the resolved configuration, by section.
        spec: class names and image size.
        input: the evaluation transform's values.
        step: optimizer steps done.
        data: `DataIdentity.plain()` of what it was trained on; None in a checkpoint of an earlier version.
        plan: devices, device batch and accumulation; None in a checkpoint of an earlier version.
        start: the weights that complete a checkpoint of only what changed; None for a whole one.
    """

    task: str
    recipe: str
    config: Mapping[str, Any]
    spec: DataSpec
    input: dict[str, Any]
    step: int
    data: Mapping[str, Any] | None = None
    plan: Mapping[str, int] | None = None
    start: Start | None = None

    def require_task(self, name: str, path: Path) -> None:
        """Refuses another task than the checkpoint's; `path` is the checkpoint's, for the error."""
        own = Path(self.task).stem
        if name != own:
            raise UserError(f"{path} is of task {own}, got --task {name}; leave --task out, or give its own checkpoint")

    def require_classes(self, data: DataSpec, path: Path) -> None:
        """Refuses data whose bands, values or classes are not the checkpoint's, in its order."""
        self._require_bands(data, path)
        self._require_masks(data, path)
        if data.value_names != self.spec.value_names:
            found, expected = (", ".join(names) or "none" for names in (data.value_names, self.spec.value_names))
            raise UserError(
                f"the data has the values {found}, expected {expected} as {path} was trained on; give "
                "--data.label_column of the same values, or start a new run with --model.weights FILE --model.new_head "
                "true"
            )
        names, mine = _classes(data), _classes(self.spec)
        if names == mine:
            return
        if len(names) != len(mine):
            found = f"{len(names)} classes, expected {len(mine)}"
        else:
            at = next(i for i, (a, b) in enumerate(zip(names, mine, strict=True)) if a != b)
            found = f"class {at} '{names[at]}', expected '{mine[at]}'"
        raise UserError(
            f"the data has {found} as {path} was trained on; give --data.root of the same classes, "
            "or start a new run with --model.weights FILE --model.new_head true"
        )

    def _require_masks(self, data: DataSpec, path: Path) -> None:
        """Refuses data of boxes alone for a detector of masks, and the reverse."""
        if data.masks == self.spec.masks:
            return
        found, expected = ("boxes and masks" if spec.masks else "boxes alone" for spec in (data, self.spec))
        raise UserError(
            f"the data has objects with {found} (data.masks {str(data.masks).lower()}), expected {expected} as {path} "
            f"was trained on; give --data.masks {str(self.spec.masks).lower()}, or start a new run with "
            "--model.weights FILE"
        )

    def _require_bands(self, data: DataSpec, path: Path) -> None:
        """Refuses data of other bands than the checkpoint's, or normalised by other statistics of them."""
        if data.bands != self.spec.bands:
            raise UserError(
                f"the data has the bands {', '.join(data.bands)}, expected {', '.join(self.spec.bands)} as {path} was "
                "trained on; give data of these bands, or start a new run with --model.weights FILE"
            )
        if self.input.get("bands") and (data.mean, data.std) != (self.spec.mean, self.spec.std):
            raise UserError(
                f"the data's bands have other statistics than those {path} was trained with, expected the same: give "
                "--data.stats FILE of its training images"
            )

    def require_readable(self, path: Path) -> None:
        """Refuses a model of bands whose input transform does not say how files of them are read."""
        if self.spec.bands != RGB and "bands" not in self.input:
            raise UserError(
                f"{path} is of the bands {', '.join(self.spec.bands)} and does not say how files of them are read, "
                "expected `bands` in its input transform (`input_transform()` of the data it was trained on)"
            )

    def require_name(self, given: str | None, folder: Path) -> str | None:
        """The name of the run that goes on, which is the one it was begun with.

        Args:
            given: today's `--run.name`, if any.
            folder: the run's.

        Raises:
            UserError: another name was given.
        """
        own: str | None = self.config["run"]["name"]
        if given not in (None, own, folder.name):
            raise UserError(
                f"got --run.name {given} beside --ckpt_path of run '{folder.name}': a run goes on in its own folder; "
                "leave one of them out"
            )
        return own


def _classes(spec: DataSpec) -> tuple[str, ...]:
    """What tells the classes of two data sets apart; ids that are mere numbers do not without their names."""
    if not all(ident.isdecimal() for ident in spec.ids()):
        return spec.ids()
    return tuple(f"{ident} {name}" for ident, name in zip(spec.ids(), spec.class_names, strict=True))


def measured_in(contents: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values that a checkpoint carries for predictions, such as a tuned threshold; empty without any."""
    found = contents.get(KEY, {}).get("measured", {})
    return {str(name): float(value) for name, value in found.items()}


def read_card(path: Path) -> Card:
    """Reads the card of a checkpoint without loading its tensors into memory.

    Raises:
        UserError: the file is missing, damaged, or no checkpoint of maekit.
    """
    contents = load_file(path)
    card = contents.get(KEY) if isinstance(contents, Mapping) else None
    if not isinstance(contents, Mapping) or not isinstance(card, Mapping):
        raise UserError(
            f"{path} is no checkpoint of a maekit run; give best.ckpt or last.ckpt, or use it as --model.weights"
        )
    height, width = card["image_size"]
    palette = tuple((red, green, blue) for red, green, blue in card.get("palette", ()))
    unit = card["input"].get("unit") or 1.0
    mean, std = (tuple(each / unit for each in card["input"].get(name, ())) for name in ("mean", "std"))
    names, ids = (tuple(card.get(name, ())) for name in ("class_names", "class_ids"))
    values, value_mean, value_std = (tuple(card.get(name, ())) for name in ("value_names", "value_mean", "value_std"))
    bands = tuple(card.get("bands", RGB))
    target = card.get("target", "classes")
    if "target" not in card and names == NO_CLASSES:
        names, ids, target = (), (), "none"
    counts, images = tuple(card.get("class_counts", ())), int(card.get("train_images", 0))
    masks = bool(card.get("masks", True))
    spec = DataSpec(
        names,
        (height, width),
        ids,
        palette,
        mean,
        std,
        target,
        values,
        value_mean,
        value_std,
        bands,
        counts,
        images,
        masks,
    )
    return Card(
        card["task"],
        card["recipe"],
        in_todays_form(card["config"]),
        spec,
        dict(card["input"]),
        int(card["step"]),
        card.get("data"),
        card.get("plan"),
        start_in(contents),
    )
