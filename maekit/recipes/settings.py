"""Checks a recipe and flags against a task and fills in defaults. Only this module imports jsonargparse."""

import difflib
import re
from argparse import SUPPRESS
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from textwrap import fill
from types import ModuleType
from typing import get_args, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser
from yaml import safe_dump

from maekit.errors import UserError, nearest
from maekit.recipes.aliases import flag_answer
from maekit.recipes.flag_help import NUM_SHOWN, FlagHelp, help_width, short_help, type_words, whole_help
from maekit.recipes.model_settings import mappings, settings_class
from maekit.recipes.moved import moved_key
from maekit.recipes.options import OWNED, RunOptions, TrainerOptions
from maekit.recipes.recipe import Recipe, Values, flat, saved_header

TUNING = frozenset(f"model.{name}" for name in (
    "tuned_blocks", "freeze", "lora_rank", "lora_alpha", "lora_targets", "lora_dropout"))  # fmt: skip
SECTIONS = ("model", "optim", "data", "trainer", "run")


@dataclass(frozen=True)
class Settings:
    """Checked values of every section, with defaults filled in.

    Attributes:
        recipe: the recipe without the flags.
        values: plain values by section: model, optim (if the model is trained), data, and for a run trainer and run.
        given: dotted keys that were given as flags.
        defaults: dotted key -> the value it has if neither recipe nor flag sets it.
    """

    recipe: Recipe
    values: Values = field(repr=False)
    given: frozenset[str]
    defaults: Mapping[str, object] = field(default_factory=dict, repr=False)

    def require_training(self) -> None:
        """Checks that the task trains a model, and so has a section `optim`.

        Raises:
            UserError: it only evaluates weights; with the command for that.
        """
        if "optim" not in self.values:
            task, recipe = self.recipe.task.given_as, self.recipe.name
            raise UserError(
                f"this task evaluates only; use maekit validate --task {task} --recipe {recipe} --model.weights FILE"
            )

    def given_weights(self) -> str | None:
        """Returns the weights that a flag names, which complete a checkpoint of only what changed; None without one."""
        weights: str | None = self.values["model"]["weights"]
        return weights if "model.weights" in self.given and weights != "none" else None

    def yaml(self) -> str:
        """The resolved configuration, as saved with a run."""
        return saved_header(self.recipe) + safe_dump(self.values, sort_keys=False)


@lru_cache(maxsize=8)  # a study's server makes that of its task, and its runs are forks of it
def make_parser(module: ModuleType, *, training: bool, prog: str = "maekit fit") -> ArgumentParser:
    """Returns a task's parser: flags of its Model, optimizer and Data, and for training of Trainer and run."""
    parser = ArgumentParser(prog=prog, exit_on_error=False)
    parser.add_argument("--config", action="config", help="your own YAML on top of the recipe; may be repeated")
    parser.add_class_arguments(settings_class(module.Model), "model", instantiate=False)
    if not module.Model.evaluates_only:
        from maekit.optim.settings import Optimisation

        parser.add_class_arguments(Optimisation, "optim", instantiate=False)
    parser.add_class_arguments(module.Data, "data", instantiate=False)
    if training:
        parser.add_class_arguments(TrainerOptions, "trainer", instantiate=False)
        parser.add_class_arguments(RunOptions, "run", instantiate=False)
    for action in parser._actions:
        if action.dest in SECTIONS or action.dest.startswith("print_"):
            action.help = SUPPRESS  # hides `--model FILE` and the like: --config holds all sections
    return parser


def resolve(
    recipe: Recipe, module: ModuleType, flags: Sequence[str], *, training: bool, prog: str = "maekit fit"
) -> Settings:
    """Checks the recipe and the flags against the task, and fills in defaults.

    Raises:
        UserError: an unknown key or flag (with the nearest right one), a missing or ill-typed value, with its place.
    """
    parser = make_parser(module, training=training, prog=prog)
    defaults = {str(key): value for key, value in vars(parser.get_defaults().as_flat()).items() if key != "config"}
    known = list(defaults)
    sections = {key.split(".")[0] for key in known}
    free = (*(f"model.{name}." for name in mappings(settings_class(module.Model))), "trainer.max_time.")
    values = {key: value for key, value in recipe.values.items() if training or key not in ("trainer", "run")}
    values = {key: _without_unset(key, section) for key, section in values.items()}
    _check_keys((each for each in flat(values) if not each[0].startswith(free)), known, sections, recipe)
    given = _check_flags(flags, known, free)
    try:
        parsed = parser.parse_args(["--config", safe_dump(values), *flags])
    except ArgumentError as error:
        raise UserError(_one_line(str(error), given, recipe)) from error
    plain: Values = parsed.as_dict()
    if training:
        TrainerOptions(**plain["trainer"])
        RunOptions(**plain["run"])
    _check_lr_fits_batch(recipe, plain, given)
    return Settings(recipe, {key: plain[key] for key in SECTIONS if key in plain}, given, defaults)


def resolve_data(recipe: Recipe, module: ModuleType, flags: Sequence[str]) -> Values:
    """Checks the `data` section of the recipe and the flags `--data.*`, and fills in defaults.

    Raises:
        UserError: as `resolve`; also a flag of another section.
    """
    parser = ArgumentParser(prog="maekit data check", exit_on_error=False)
    parser.add_class_arguments(module.Data, "data", instantiate=False)
    given = _check_flags(flags, [str(key) for key in parser.get_defaults().as_flat().__dict__])
    parser.add_argument("--config", action="config")
    data = {"data": recipe.values.get("data", {})}
    _check_keys(flat(data), [str(key) for key in parser.get_defaults().as_flat().__dict__], {"data"}, recipe)
    try:
        parsed = parser.parse_args(["--config", safe_dump(data), *flags])
    except ArgumentError as error:
        raise UserError(_one_line(str(error), given, recipe)) from error
    values: Values = parsed.as_dict()["data"]
    return values


def help_text(recipe: Recipe, module: ModuleType, prog: str, *, every: bool = True) -> str:
    """Returns the help of a task's flags, with the recipe's values as defaults.

    Args:
        recipe: its values are the defaults.
        module: the task's.
        prog: the command.
        every: all flags by section, or those most used.
    """
    flags = flag_helps(recipe, module)
    task = recipe.task.given_as
    lines = [
        f"usage: {prog} --task {task} [--recipe RECIPE] [--config FILE] [--ckpt_path FILE] [flags]",
        "",
        f"Defaults are those of the recipe '{recipe.name}'. Lists are written [0.9,0.999].",
        *(fill(line, help_width()) for line in recipe.task.own_data_lines()),
        "",
        (whole_help if every else short_help)(flags),
    ]
    if not every and len(flags) > NUM_SHOWN:
        rest = f"{len(flags) - NUM_SHOWN} more flags: {prog} --task {task} --recipe {recipe.name} --help all"
        lines += ["", rest]
    return "\n".join(lines)


def flag_helps(recipe: Recipe, module: ModuleType) -> list[FlagHelp]:
    """Returns what the help says of each flag of a task, in the order of their sections."""
    parser = make_parser(module, training=True)
    defaults = {**vars(parser.get_defaults().as_flat()), **dict(flat(recipe.values))}
    classes = {"model": settings_class(module.Model), "data": module.Data, "trainer": TrainerOptions, "run": RunOptions}
    if not module.Model.evaluates_only:
        from maekit.optim.settings import Optimisation

        classes["optim"] = Optimisation
    return [
        FlagHelp(key, _type_words(classes, key), defaults[key], action.help or "", str(group.title))
        for group in parser._action_groups
        for action in group._group_actions
        if (key := action.dest) in defaults and "." in key
    ]


def flag_texts(module: ModuleType) -> dict[str, str]:
    """Returns what the help says of each flag of a task's model and data, in one line each; of a group its title."""
    parser, found = make_parser(module, training=False), {}
    keys = [action.dest for action in parser._actions]
    for group in parser._action_groups:
        for action in group._group_actions:
            whole = any(key.startswith(f"{action.dest}.") for key in keys)
            found[action.dest] = " ".join(str((group.title if whole else action.help) or "").split())
    return found


def _type_words(classes: Mapping[str, type], key: str) -> str:
    """Returns the type of a dotted key in short words; nested keys are fields of fields."""
    section, *names = key.split(".")
    hint: object = classes[section]
    for name in names:
        own = next((one for one in (hint, *get_args(hint)) if is_dataclass(one)), None)
        hint = get_type_hints(own)[name]
    return type_words(hint)


def _without_unset(section: str, values: object) -> object:
    """Returns a section without the null arguments of Lightning that config.yaml of earlier versions held."""
    if section != "trainer" or not isinstance(values, dict):
        return values
    return {key: value for key, value in values.items() if value is not None or key not in OWNED}


def _check_keys(found: Iterable[tuple[str, object]], known: Sequence[str], sections: set[str], recipe: Recipe) -> None:
    for key, _ in found:
        if key in known:
            continue
        where = recipe.origins.get(key, "the recipe")
        section, _, name = key.partition(".")
        if section not in sections:
            names = ", ".join(sorted(sections))
            raise UserError(f"unknown section '{section}' in {where}{nearest(section, sections)} (known: {names})")
        hint = moved_key(key) or _untuned(key) or f"{_decided_elsewhere(section, name)}{nearest_key(key, known)}"
        raise UserError(f"unknown key '{key}' in {where}{hint} (all keys: maekit fit --task {recipe.task.name} --help)")


def _check_flags(flags: Sequence[str], known: Sequence[str], free: tuple[str, ...] = ()) -> frozenset[str]:
    """Returns the keys that are given, and refuses unknown ones; `free` begins keys that are not known beforehand."""
    given = set()
    for before, flag in zip(("", *flags), flags, strict=False):
        if not flag.startswith("-") and "=" in flag and (not before.startswith("--") or "=" in before):
            raise UserError(f"got '{flag}', expected a flag{flag_hint(flag.split('=')[0], known)}")
        letter = re.fullmatch(r"-[a-z]", flag)
        if letter or (flag.startswith("--") and flag not in ("--config", "--help")):
            key = flag.lstrip("-").split("=")[0].rstrip("+")
            if key not in known and not key.startswith(free):
                raise UserError(f"unknown flag '{flag.split('=')[0]}'{flag_hint(key, known)}")
            given.add(key)
    return frozenset(given)


def flag_hint(key: str, known: Sequence[str]) -> str:
    """Returns what to use instead of an unknown flag: the reason, maekit's word for it, or the nearest flag."""
    section, _, name = key.partition(".")
    moved = moved_key(key)
    answer, elsewhere = flag_answer(key, known), (flag_answer(key, ()) or "").removeprefix("use --").partition(" ")[0]
    trains = any(name.startswith("optim.") for name in known)
    if not trains and (moved or section == "optim" or (answer is None and elsewhere.startswith("optim."))):
        return "; this task evaluates only: nothing is trained, so it has no optimizer and no learning rate"
    if reason := moved or _decided_elsewhere(section, name) or _untuned(key):
        return reason
    if answer is not None:
        return f"; {answer}"
    if reason := _untuned(elsewhere) or _decided_elsewhere("trainer", key):
        return reason
    own = {"task", "recipe", "config", "ckpt_path", "print_config"} - {key}  # one of these, where a command lacks it
    return nearest_key(f"--{key}", [f"--{name}" for name in (*known, *own)]) or "; see --help"


def nearest_key(key: str, known: Sequence[str]) -> str:
    """Returns `; did you mean 'x'?` for the nearest key, compared without its section first, then with it."""
    names = {name.partition(".")[2]: name for name in known}
    close = difflib.get_close_matches(key.partition(".")[2], names, n=1, cutoff=0.8)
    return f"; did you mean '{names[close[0]]}'?" if close and close[0] else nearest(key, known)


def _decided_elsewhere(section: str, name: str) -> str:
    return f" ({OWNED[name]})" if section == "trainer" and OWNED.get(name) else ""


def _untuned(key: str) -> str:
    """Returns why a task has no such key, of those that say how much of a backbone is trained; empty for any other."""
    return "; this task never trains its backbone" if key in TUNING else ""


def _one_line(message: str, given: frozenset[str], recipe: Recipe) -> str:
    """Returns jsonargparse's message in one line, with the file or flag that set the value."""
    missing = re.search(r"the following arguments are required: (.*)", message)
    if missing:
        return f"no value for {missing[1]}; set it in the recipe or by its flag (recipe: {recipe.files[-1]})"
    key = re.search(r'Parser key "([^"]+)"', message)
    types = [_type_name(word) for word in re.findall(r"Expected an? (.+?)(?:\.? Got value|\n|$)", message)]
    got = re.search(r"(?:Given value|Got value): (.*)", message)
    if key and types and got:
        where = "its flag" if key[1] in given else str(recipe.origins.get(key[1], "the recipe"))
        return f"{key[1]}: got {got[1]!r}, expected {' or '.join(dict.fromkeys(types))}, in {where}"
    return " ".join(message.split())


def _type_name(word: str) -> str:
    choices = re.match(r"typing\.Literal\[(.*)\]", word)
    if choices:
        return "one of " + choices[1]
    name = re.sub(r"<class '(.*)'>", r"\1", word).rstrip(".")
    return {
        "NoneType": "null",
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "bool": "true or false",
    }.get(name, name)


def _check_lr_fits_batch(recipe: Recipe, values: Values, given: frozenset[str]) -> None:
    """Refuses a changed batch size beside an unchanged absolute lr: changing the batch also requires setting lr."""

    def layer(key: str) -> int:
        """Place of the layer that set a key: a recipe file's index, beyond them all for a flag; 0 if nothing set it."""
        if key in given:
            return len(recipe.files)
        return recipe.files.index(recipe.origins[key]) if key in recipe.origins else 0

    later = layer("data.total_batch_size") > layer("optim.lr")
    published = recipe.values.get("data", {}).get("total_batch_size") if "data.total_batch_size" in given else None
    total, lr = values["data"]["total_batch_size"], values.get("optim", {}).get("lr")
    if lr is not None and later and published != total:
        example = f", for example --optim.lr {lr * total / published:.3g}" if published else ""
        raise UserError(
            f"got data.total_batch_size {total}, but the recipe's lr {lr:g} is absolute, tuned for "
            f"{published or 'another'} images a step; set optim.lr too{example}"
        )
