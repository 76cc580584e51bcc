"""The backbone that a file of weights decides: a recipe's is a default, and one that the user says must agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maekit.backbone.sizes import Size, load_size, with_patch
from maekit.base.checkpoint_card import read_card
from maekit.base.model import TransferModel
from maekit.base.settings import BackboneSettings
from maekit.errors import UserError
from maekit.recipes.model_settings import settings_class
from maekit.recipes.recipe import Values, load_recipe, recipe_names
from maekit.recipes.settings import Settings
from maekit.weights.get.find import find_weights, official_of, weights_here
from maekit.weights.state.backbone_of import backbones_of

KEY = "model.backbone"
_FILTERS = "patch_embed.proj.weight"


class Held(NamedTuple):
    """What holds a backbone, as a user calls it, and the backbone's name, the likeliest first of several; or none."""

    where: str
    backbones: tuple[str, ...]


def held_by(checkpoint: Path) -> Held:
    """Returns what a checkpoint of a run holds, as its card says."""
    model: Values = read_card(checkpoint).config["model"]
    return Held(str(checkpoint), (model["backbone"],))


def follow_weights(
    settings: Settings, model: type[TransferModel], held: Held | None = None, *, download: bool = True
) -> list[str]:
    """Puts the backbone of the weights into the settings, in place, and says so.

    Weights of another patch size keep the recipe's where the task resamples patch filters (`expect_resized`).

    Args:
        settings: of a recipe and flags.
        model: the task's.
        held: the checkpoint that is resumed or measured, which then decides: `model.weights` is not read.
        download: whether weights may be downloaded for that; else of those that are not there only official ones are
            known.

    Returns:
        A line where the recipe's backbone was not taken, or could not be compared; else none.

    Raises:
        UserError: the user says another backbone than the file's; the recipe names blocks of another depth; or the file
            is missing or damaged.
    """
    values, given = settings.values["model"], settings.values["model"]["weights"]
    if held is None and (given in (None, "none") or (_said(settings, KEY) and not _said(settings, "model.weights"))):
        return []  # of a backbone of the user's under the recipe's weights the load says that they do not fit
    own, resampled = values["backbone"], held is None and _FILTERS in model.expect_resized
    held = held or _held(given, download=download)
    if held is None:
        return [f"note     {given} is not on this machine: the backbone is taken to be {own}"]
    if not held.backbones or own in held.backbones:
        return []
    before = load_size(own)
    found = [load_size(name) for name in held.backbones]
    taken = [load_size(with_patch(size.name, before.patch_size)) for size in found] if resampled else found
    if before in taken:
        return []
    _refuse_said(settings, held.where, taken[0].name)
    _refuse_blocks(settings, model, held.where, taken[0])
    values["backbone"] = taken[0].name
    return [_line(settings, held.where, found[0], taken[0], before)]


def _held(weights: str, *, download: bool) -> Held | None:
    """What `--model.weights` names; None where it is not there and not known without a download."""
    path = find_weights(weights) if download else weights_here(weights)
    if path is not None:
        return Held(weights, backbones_of(path))
    official = official_of(weights)
    return None if official is None else Held(weights, (official.backbone,))


def _said(settings: Settings, key: str) -> bool:
    """Whether the user says it, by a flag or in a file of theirs."""
    return key in settings.given or settings.recipe.own_file(key) is not None


def _refuse_said(settings: Settings, where: str, name: str) -> None:
    """Refuses a backbone that the user says, which is not that of the weights."""
    said = settings.values["model"]["backbone"]
    if KEY in settings.given:
        mend = f"leave --{KEY} out"
    elif file := settings.recipe.own_file(KEY):
        mend = f"take {KEY} out of {file}, or add --{KEY} {name}"
    else:
        return
    raise UserError(
        f"got {KEY} {said} with {where}, expected {name}, which it holds; {mend}, or name weights of {said}"
    )


def _refuse_blocks(settings: Settings, model: type[TransferModel], where: str, taken: Size) -> None:
    """Refuses the recipe's lists of blocks where the weights have another number of blocks."""
    before = load_size(settings.values["model"]["backbone"]).num_blocks
    wrong = dict(_other_blocks(settings, model, before, taken.num_blocks))
    if not wrong:
        return
    got = " and ".join(f"{key} {old}" for key, (old, _) in wrong.items())
    flags = " ".join(f"--{key} {_typed(new)}" for key, (_, new) in wrong.items())
    recipe = _recipe_for(settings, taken)
    raise UserError(
        f"got {got}, which the recipe {settings.recipe.name} has for {before} blocks, expected some of the "
        f"{taken.num_blocks} of {where} ({taken.name}); add {f'--recipe {recipe}, or ' if recipe else ''}{flags}"
    )


def _other_blocks(
    settings: Settings, model: type[TransferModel], before: int, now: int
) -> Iterator[tuple[str, tuple[list[int], list[int]]]]:
    """Yields the lists of blocks that are the recipe's, and as far from the end of a ViT of another depth."""
    kind = settings_class(model)
    for name in kind.of_depth if before != now and issubclass(kind, BackboneSettings) else ():
        key, blocks = f"model.{name}", settings.values["model"].get(name)
        if blocks and not _said(settings, key):
            yield key, (blocks, [max(round((block + 1) * now / before) - 1, 0) for block in blocks])


def _typed(blocks: list[int]) -> str:
    return str(blocks).replace(" ", "")


def _recipe_for(settings: Settings, taken: Size) -> str | None:
    """Returns the task's recipe for a backbone, else for one of its width and depth; None where there is none.

    Of several it is the one that is called as the size, such as `base`.
    """
    task = settings.recipe.task
    backbones = {name: load_recipe(task, name).values.get("model", {}).get("backbone") for name in recipe_names(task)}
    having = [name for name, backbone in backbones.items() if backbone == taken.name]
    having = having or [n for n, backbone in backbones.items() if backbone and _same_size(load_size(backbone), taken)]
    return min(having, key=lambda name: f"_{name}_" not in f"_{taken.name}_", default=None)


def _same_size(one: Size, other: Size) -> bool:
    return (one.embed_dim, one.num_blocks) == (other.embed_dim, other.num_blocks)


def _line(settings: Settings, where: str, found: Size, taken: Size, own: Size) -> str:
    """Says which backbone is taken, why, and what of the recipe is of another."""
    line = f"backbone {taken.name}, as {where} has it; the recipe {settings.recipe.name} has {own.name}"
    if not _same_size(taken, own):
        recipe = _recipe_for(settings, taken)
        line += ", for which its other numbers are" + (f": --recipe {recipe} has those of this size" if recipe else "")
    if found.patch_size != taken.patch_size:
        line += (
            f"; patch filters are resampled from {found.patch_size} to {taken.patch_size} px, the recipe's patch: "
            f"--{KEY} {found.name} keeps them, with images of multiples of {found.patch_size}"
        )
    return line
