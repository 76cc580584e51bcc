"""A plan as lines of text, and as plain values for JSON."""

from dataclasses import asdict
from shlex import quote

from maekit.errors import UserError
from maekit.planning.memory import CONTEXT, FRAGMENTATION, PROCESS
from maekit.planning.plan import Choice, Plan
from maekit.recipes.settings import Settings

GIB = 2**30
NAMES = {"one": "one device", "ddp": "ddp", "fsdp2": "fsdp2"}


def lines_of(plan: Plan, settings: Settings, flags: list[str]) -> list[str]:
    """Returns the whole answer; the commands to type come last."""
    return [*_facts(plan, settings), "", *_table(plan), "", *_length(plan), *_commands(plan, settings, flags)]


def require_fit(plan: Plan) -> None:
    """Refuses devices on which nothing fits, with the memory that the smallest setting needs."""
    if not plan.best():
        least = min(plan.choices, key=lambda choice: choice.memory.total)
        raise UserError(
            f"--devices: got {plan.devices.count} x {plan.devices.memory / GIB:g} GiB, expected "
            f"{plan.smallest / GIB:.1f} GiB or more on each: {_words(least)} is the smallest setting that keeps "
            "the recipe's total batch; give larger or more devices, or a smaller --data.total_batch_size"
        )


def _facts(plan: Plan, settings: Settings) -> list[str]:
    recipe, (whole, trained) = settings.recipe, plan.num_parameters
    devices, state, memory = plan.devices, plan.state, f"{plan.devices.memory / GIB:.4g} GiB each"
    total = settings.values["data"]["total_batch_size"]
    known = f" ({devices.source})" if devices.source else ""
    return [
        f"task     {recipe.task.given_as}, recipe {recipe.name}, total batch {total}",
        f"devices  {devices.count} x {devices.name}, {memory}, {plan.target.precision}{known}",
        f"data     {plan.images.origin}",
        f"model    {whole:,} parameters, {trained:,} trained: {_gib(state.trained + state.frozen)} GiB; gradients "
        f"{_gib(state.gradients)}, optimizer {_gib(state.optimizer)}, average {_gib(state.average)} GiB (exact, whole)",
    ]


def _table(plan: Plan) -> list[str]:
    head = "strategy    recompute  device batch  accumulated  state   saved  copies   other   GiB a device"
    rows = [head + ("  s/step" if plan.rate else "")]
    rows += [_row(choice) for choice in shown(plan)]
    kind = f"{PROCESS / GIB:g} GiB of a process" if plan.target.kind == "cpu" else f"{CONTEXT / GIB:g} GiB of context"
    return [
        *rows,
        f"predicted: state and saved activations are counted; other is the batch, what one operation works on, and an "
        f"allowance of {kind} and {FRAGMENTATION:.0%} for fragmentation",
    ]


def shown(plan: Plan) -> list[Choice]:
    """Returns of each strategy and recomputing the smallest device batch, the two largest that fit, and the next."""
    kept = []
    for key in dict.fromkeys((choice.strategy, choice.recompute) for choice in plan.choices):
        group = [choice for choice in plan.choices if (choice.strategy, choice.recompute) == key]
        fits = sum(choice.fits for choice in group)
        places = {0, fits - 2, fits - 1, fits} & set(range(len(group)))
        kept += [group[place] for place in sorted(places)]
    return kept


def _row(choice: Choice) -> str:
    memory = choice.memory
    other = memory.inputs + memory.work + memory.allowance
    parts = "  ".join(f"{_gib(part):>6}" for part in (memory.state.total, memory.saved, memory.weight_copies, other))
    seconds = "" if choice.seconds is None else f"  {choice.seconds:6.3g}"
    return (
        f"{NAMES[choice.strategy]:<11} {'yes' if choice.recompute else 'no':<9}  {choice.batch.device_batch:>12}  "
        f"{choice.batch.accumulation:>11}  {parts}  {_gib(memory.total):>6} {'fits' if choice.fits else 'no  '}"
        f"{seconds}"
    )


def _length(plan: Plan) -> list[str]:
    length, disk, found = plan.length, plan.disk, plan.best()
    steps = "unknown length (give --trainer.max_steps)" if length.steps is None else f"{length.steps:,} steps"
    epochs = "" if length.epochs is None else f", {length.epochs:.4g} epochs"
    lines = [f"run      {steps}{epochs}, {length.validations} validations"]
    if plan.rate is None:
        lines.append("time     not predicted: nothing is known of these devices' speed; name a card, such as 4xRTX4090")
    elif length.steps is not None and found and found[0].seconds is not None:
        hours = (length.steps * found[0].seconds + length.validations * (plan.validation or 0.0)) / 3600
        lines.append(
            f"time     predicted {hours:.3g} hours with the first setting below, validations of "
            f"{plan.validation or 0:.3g} s included, data loading and communication not: {plan.rate.origin}"
        )
    lines.append(
        f"disk     {_gib(disk.total)} GiB: last.ckpt {_gib(disk.last)}, best.ckpt {_gib(disk.best)}, a second "
        f"last.ckpt while it is written, logs {disk.logs // 2**20} MiB (allowance)"
    )
    return lines


def _commands(plan: Plan, settings: Settings, flags: list[str]) -> list[str]:
    return ["", "settings that fit, least arithmetic first:", *(command(c, settings, flags) for c in plan.best())]


def command(choice: Choice, settings: Settings, flags: list[str]) -> str:
    """Returns the command that runs a choice, with the flags that were given."""
    own = {"data.device_batch_size": str(choice.batch.device_batch), "trainer.devices": str(choice.batch.devices)}
    if choice.strategy != "one":
        own["trainer.strategy"] = choice.strategy
    if "gradient_checkpointing" in settings.values["model"]:
        own["model.gradient_checkpointing"] = str(choice.recompute).lower()
    recipe = settings.recipe
    words = ["maekit", "fit", "--task", recipe.task.given_as, "--recipe", recipe.name, *_without(flags, own)]
    words += [word for key, value in own.items() for word in (f"--{key}", value)]
    return "  " + " ".join(map(quote, words))


def _without(flags: list[str], keys: dict[str, str]) -> list[str]:
    """Returns the flags without those of `keys`, written as `--key value` or `--key=value`."""
    kept, skip = [], False
    for word in flags:
        name, equals, _ = word.partition("=")
        if name.startswith("--"):
            skip = name.removeprefix("--") in keys
            if skip:
                skip = not equals
                continue
        elif skip:
            skip = False
            continue
        kept.append(word)
    return kept


def json_of(plan: Plan, settings: Settings, flags: list[str]) -> dict[str, object]:
    """Returns the plan as plain values; every number but bytes of the state and of checkpoints is predicted."""
    recipe = settings.recipe
    return {
        "task": recipe.task.given_as,
        "recipe": recipe.name,
        "predicted": True,
        "devices": asdict(plan.devices),
        "precision": plan.target.precision,
        "data": {"train": plan.images.train, "val": plan.images.val, "origin": plan.images.origin},
        "parameters": {"all": plan.num_parameters[0], "trained": plan.num_parameters[1]},
        "state_bytes": asdict(plan.state),
        "settings": [
            {**asdict(choice), "total_bytes": choice.memory.total, "command": command(choice, settings, flags).strip()}
            for choice in plan.choices
        ],
        "smallest_bytes": plan.smallest,
        "length": asdict(plan.length),
        "rate": None if plan.rate is None else asdict(plan.rate),
        "validation_seconds": plan.validation,
        "disk_bytes": {**asdict(plan.disk), "total": plan.disk.total},
    }


def _words(choice: Choice) -> str:
    again = ", recomputed blocks" if choice.recompute else ""
    return f"{NAMES[choice.strategy]}{again}, device batch {choice.batch.device_batch}"


def _gib(size: int) -> str:
    return f"{size / GIB:.2f}"
