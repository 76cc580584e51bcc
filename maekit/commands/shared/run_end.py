"""What `maekit fit` does when a run has come to its end: its page, and the commands that one types next."""

import shlex
from pathlib import Path

from maekit.runs.folder import shown
from maekit.runs.next_commands import next_commands
from maekit.runs.read import Run


def end_lines(folder: Path, *, report: bool) -> list[str]:
    """Writes the page of a run, and returns lines for the terminal.

    Args:
        folder: the run's; nothing is written into that of a paused run.
        report: whether to write the page. Where that fails, a line says why, and the run is as good as without.
    """
    run = Run(folder)
    ended = run.status in ("finished", "stopped")
    lines = _page_lines(run) if ended and report else []
    commands = [command for command, _ in next_commands(run)]
    if ended and not report:
        commands.insert(0, f"maekit report {shlex.quote(shown(folder))}")
    return [*lines, *(f"{'next' if at == 0 else '':<8}{command}" for at, command in enumerate(commands))]


def _page_lines(run: Run) -> list[str]:
    from maekit.report.formats.write import created_line, write_report
    from maekit.report.runs.report import run_document

    try:
        files = write_report(run_document(run, created_line()), run.folder / "report")
    except Exception as error:  # whatever is wrong with a page, the run has been trained
        reason = f"{type(error).__name__}: {error}"
        return [f"note    the report was not written ({reason}); maekit report {shlex.quote(shown(run.folder))}"]
    return [f"report  {shown(next(file for file in files if file.suffix == '.html'))}"]
