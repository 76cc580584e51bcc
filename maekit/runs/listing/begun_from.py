"""Which runs began from files that are about to be removed, or measured them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from maekit.errors import UserError
from maekit.runs.checkpoint_path import run_checkpoint
from maekit.runs.folder import shown
from maekit.runs.listing.remove import Removal
from maekit.runs.listing.rows import RunRow
from maekit.runs.named import named_run
from maekit.runs.read import Run
from maekit.system.plain import table


def begun_lines(removals: Sequence[Removal], rows: Sequence[RunRow]) -> list[str]:
    """Returns a line for each run that stays and whose weights came from a file that goes.

    Args:
        removals: what goes.
        rows: the runs that are looked at.
    """
    wholly = {one.folder.resolve() for one in removals if not one.files}
    files = {file.resolve() for one in removals for file in one.files}
    lines = []
    for row in rows:
        own = row.folder.resolve()
        if own in wholly:
            continue
        others = (path for path in _origins(row.run) if not path.is_relative_to(own))  # a resumed run names itself
        goes = next((path for path in others if path in files or not wholly.isdisjoint(path.parents)), None)
        if goes is not None:
            lines.append(_line(row, goes))
    return lines


def _line(row: RunRow, file: Path) -> str:
    place, run = shown(row.folder), row.run
    if _is_evaluation(run):
        return f"{place} measured {shown(file)}, and cannot be measured again"
    if run.flat_config.get("run.checkpoint_content") == "changed":
        return (
            f"{place} began from {shown(file)}, and its checkpoints hold only what it changed: they cannot be used "
            "without these weights"
        )
    return f"{place} began from {shown(file)}: its own checkpoints stay whole, but it cannot be repeated"


def _origins(run: Run) -> Iterator[Path]:
    """Yields the files that are there now and that a run's settings or command name, resolved.

    Paths and numbers of runs are those of the folder in which the command was typed, if that is still there.
    """
    typed_in = Path(str(run.environment.get("folder") or ""))
    here = typed_in if typed_in.is_dir() else Path()
    for given in dict.fromkeys(_words(run)):
        for text in (given, given.rpartition("#")[0]):
            path = here / Path(text).expanduser()
            if text and path.exists():
                yield run_checkpoint(path).resolve()
        if found := _numbered(given, here / "runs"):
            yield run_checkpoint(found).resolve()


def _words(run: Run) -> Iterator[str]:
    """Yields what names the weights of a run; an evaluation's settings are those of the run that it measured."""
    recorded = table(run.environment.get("checkpoint")).get("checkpoint")  # of `maekit validate`
    measured = [str(recorded)] if recorded else list(_given(run.command))
    yield from measured
    if isinstance(weights := run.flat_config.get("model.weights"), str) and not (measured and _is_evaluation(run)):
        yield weights


def _is_evaluation(run: Run) -> bool:
    """Whether a folder holds what `maekit validate --output` wrote."""
    return run.status == "validated"


def _given(command: Sequence[str]) -> Iterator[str]:
    """Yields the values of --ckpt_path in a command."""
    for word, after in zip(command, [*command[1:], ""], strict=True):
        flag, is_joined, value = word.partition("=")
        if flag == "--ckpt_path":
            yield value if is_joined else after


def _numbered(given: str, runs: Path) -> Path | None:
    try:
        return named_run(given, runs)
    except UserError:  # several runs have the number by now
        return None
