"""The sections of a run's report that are tables and lists: result, data, configuration, cost, environment."""

import shlex
from collections.abc import Iterator

from maekit.report.document import Block, Code, Facts, Section, Table, Text, Value
from maekit.report.runs.side_by_side import shown_metrics, watched
from maekit.report.words import setting
from maekit.runs.differences import differences
from maekit.runs.evaluated import Interval
from maekit.runs.read import Run
from maekit.system.numbers import cell_text, duration, number, plural
from maekit.system.plain import table

HIGH_DATA_SHARE = 0.15
LOADING_ADVICE = (
    "The steps wait for images. What helps: more --data.num_workers where there are cores for them, --data.decoder "
    "fast, --data.reduced_decode train where the photographs are large, or images stored smaller or on a faster disk."
)


def result(run: Run, beside: Table | None) -> Section:
    """The metrics of the last evaluation, the best value of the monitored one, and the published numbers (`beside`)."""
    monitor = watched(run)
    best = run.best
    names = shown_metrics(table(run.metrics.get("val")), monitor[0] if monitor else None)
    rows: list[tuple[Value, ...]] = [
        (
            name,
            run.val.get(name),
            *((best.value, best.step) if monitor and name == monitor[0] else (None, None)),
            *_ends(run.intervals.get(name)),
        )
        for name in names
        if name in run.val or name == (monitor and monitor[0])  # those without a number are said in the summary
    ]
    if not rows:
        return Section("Result", (Text((f"None: {how_far(run)}.",)),))
    note = "The value after the last step; the best is that of best.ckpt."
    if run.status == "paused":
        note = f"The run is paused, so these are not its results: {how_far(run)}."
    elif run.status == "validated":
        note = "Of one evaluation, without training."
    level = next((f"{one.level:.0%}".replace("%", " %") for one in run.intervals.values()), "")
    columns: tuple[str, ...] = ("metric", "value", "best", "at step", f"{level} low", f"{level} high")
    if not run.intervals:
        columns, rows = columns[:4], [row[:4] for row in rows]
    else:
        whose = "" if run.status == "validated" else " of best.ckpt"
        words = next(iter(run.intervals.values())).words()
        note += f" Low and high{whose} are the {words}: other images of the same kind may give any value between."
    metrics = Table("metrics", columns, tuple(rows), note=note)
    return Section("Result", (metrics, *([beside] if beside is not None else [])))


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


def how_far(run: Run) -> str:
    """How far a run came: `finished after 40 steps`, `stopped by early_stopping after 20 of 40 steps`, ..."""
    if run.status == "finished":
        early = run.early_stop
        steps = _steps(run, run.number("step"))
        return f"finished after {steps}" if early is None else f"ended early after {steps}: {early.words()}"
    if run.status == "validated":
        return "an evaluation of weights, without training"
    if run.status == "stopped":
        return f"stopped by {run.metrics.get('stopped_by')} after {_steps(run, run.number('step'))}"
    if run.status == "paused":
        return f"paused after {_steps(run, run.number('step'))}"
    train, val = run.rows("train"), run.rows("val")
    seen = max((row["step"] for row in (*train, *val)), default=None)
    word = "still running" if run.is_live else "unfinished"
    if seen is None:
        return f"{word}, and no step of it is recorded"
    last, monitor = "", watched(run)
    if monitor and val and monitor[0] in val[-1]:
        last = f", the last validation at step {number(val[-1]['step'])}: {monitor[0]} {number(val[-1][monitor[0]])}"
    return f"{word}, last seen at step {_steps(run, seen).removesuffix(' steps').removesuffix(' step')}{last}"


def configuration(run: Run) -> Section:
    """The hyper-parameters that differ from the recipe."""
    return Section("Configuration", (_differences(run),))


def whole_configuration(run: Run) -> Section | None:
    """Every key, and where its value is from; a hundred rows, so it comes last."""
    return Section("The whole configuration", (_settings(run),)) if run.config else None


def _settings(run: Run) -> Table:
    recipe, given = run.recipe_values, set(run.given)
    own_files = any(word.startswith("--config") for word in run.command)
    rest = "--config or default" if own_files else "default"
    columns: tuple[str, ...] = ("key", "value", "from")
    rows: tuple[tuple[str, ...], ...] = tuple(
        (key, setting(value), "flag" if key in given else "recipe" if recipe.get(key, run) == value else rest)
        for key, value in run.flat_config.items()
    )
    if not recipe:
        columns, rows = columns[:2], tuple(row[:2] for row in rows)
    return Table("configuration", columns, rows)


def _differences(run: Run) -> Block:
    if not run.recipe_values:
        return Text(("The run does not record its recipe's own values, so what differs from them is not known.",))
    found = differences(run)
    if not found:
        return Text((f"Every hyper-parameter is that of the recipe {run.recipe}.",))
    rows = tuple((one.key, setting(one.recipe), setting(one.run)) for one in found)
    return Table("differences", ("key", "recipe", "run"), rows, f"What differs from the recipe {run.recipe}")


def cost(run: Run) -> Section:
    """Time, speed, peak memory, steps and images, as far as `metrics.json` has them."""
    pairs = tuple((name, value) for name, value in _cost(run) if value)
    facts = Facts(pairs) if pairs else Text(("Not recorded: metrics.json is written at the end.",))
    advice = [Text((LOADING_ADVICE,))] if (run.number("data_share") or 0) >= HIGH_DATA_SHARE else []
    return Section("Cost", (facts, *advice))


def cost_line(run: Run) -> str:
    """The cost in one line; empty where nothing is recorded."""
    known = dict(_cost(run))
    return ", ".join(known[name] for name in ("time", "speed", "peak memory") if known.get(name))


def _cost(run: Run) -> Iterator[tuple[str, str]]:
    seconds, speed, memory = (run.number(name) for name in ("seconds", "images_per_second", "peak_memory_gib"))
    step, sessions, waited = run.number("step"), run.number("sessions"), run.number("data_share")
    batch = None if run.status == "validated" else run.total_batch
    yield "time", "" if seconds is None else duration(seconds)
    yield "hours", "" if seconds is None or seconds < 3600 else number(seconds / 3600)
    yield "speed", "" if speed is None else f"{number(speed)} images/s"
    yield "waiting for data", "" if waited is None else f"{waited:.0%} of the training time"
    yield "peak memory", "" if memory is None else f"{number(memory)} GiB"
    yield "optimizer steps", "" if step is None or run.status == "validated" else _steps(run, step)
    yield "training images", "" if step is None or batch is None else f"{int(step * batch):,} ({batch:,} a step)"
    yield "sessions", "" if sessions is None else f"{number(sessions)} (how often it was started)"


def _steps(run: Run, step: float | None) -> str:
    if step is None:
        return "an unknown number of steps"
    of = f" of {run.total_steps:,}" if run.total_steps is not None and run.total_steps != step else ""
    return f"{int(step):,}{of} step{'s' if step != 1 or of else ''}"


def environment(run: Run) -> Section:
    """Versions, devices, git state and the command."""
    found = run.environment
    if not found:
        return Section("Environment", (Text(("Not recorded.",)),))
    pairs = [
        ("started", cell_text(found.get("started"))),
        ("devices", cell_text(found.get("devices"))),
        ("platform", cell_text(found.get("platform"))),
        ("Python", cell_text(found.get("python"))),
        *((name, cell_text(version)) for name, version in table(found.get("versions")).items()),
        ("git", _git(found.get("git"))),
        ("SLURM job", cell_text(found.get("slurm_job"))),
        ("folder of the run", str(run.folder)),
    ]
    blocks: list[Block] = [Facts(tuple(pair for pair in pairs if pair[1]))]
    if run.command:
        blocks.append(Code(_command(run.command), "The command"))
    return Section("Environment", tuple(blocks))


def _command(words: list[str]) -> str:
    """As one would type it: the program by its name, whatever file started it."""
    first = "maekit" if words[0].endswith(("maekit", "__main__.py")) else words[0]
    return shlex.join([first, *words[1:]])


def _git(recorded: object) -> str:
    state = table(recorded)
    commit, files = state.get("commit"), state.get("changed_files")
    changed = f", {plural(len(files), 'file')} changed" if isinstance(files, list) and files else ""
    return f"{commit}{changed}" if commit else ""
