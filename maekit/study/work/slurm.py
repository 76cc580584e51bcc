"""A SLURM array script that runs a study on a cluster: workers on a database, or one run a task in a shared folder."""

import shlex
from pathlib import Path

from maekit.errors import UserError
from maekit.study.define.definition import Definition

_STORAGE = "MAEKIT_STORAGE"
_MOST_WORKERS = 8  # unless --parallel says how many

_SCRIPT = """\
#!/bin/bash
{about}
# Set the next four lines to what your cluster has, then: sbatch THIS_FILE
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --mem=32G
#SBATCH --job-name={job}
#SBATCH --array=0-{last}{at_once}
#SBATCH --output=maekit-{job}-%A_%a.log
#SBATCH --requeue
#SBATCH --signal=B:SIGUSR1@90

# 90 seconds before the time is up: save, stop, and go back into the queue, from where the run goes on.
back_into_the_queue() {{
    kill -TERM "$work" 2>/dev/null
    wait "$work"
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    exit 0
}}
trap back_into_the_queue USR1

cd {here} || exit 2
{start} &
work=$!
wait "$work"
exit $?
{end}
"""

_WORKER = """\
# The first to come makes the study, the others join it.
study={study}
join=--join
if [ ! -f "$study/study.json" ]; then
    if [ "$SLURM_ARRAY_TASK_ID" -eq 0 ]; then join=""; fi
    until [ -z "$join" ] || [ -f "$study/study.json" ]; do sleep 10; done
fi
{command} $join"""


def script(definition: Definition, words: list[str], folder: Path, storage: str | None, parallel: str) -> str:
    """The array script of a study.

    With a database each array task is a worker that takes runs until none is left. Without, each does one run of the
    grid, and the script's last line says what collects them.

    Args:
        definition: the study.
        words: the `maekit sweep` command that makes it, without storage and what is said of machines.
        folder: the study's folder, on a disk that all machines share.
        storage: the database's URL; None for none.
        parallel: `--parallel`: how many array tasks at once.

    Raises:
        UserError: a study that needs a database and has none.
    """
    count = int(parallel) if parallel.isdecimal() and int(parallel) > 1 else None
    runs = definition.total_cells * len(definition.seeds)
    if storage is None:
        return _one_run_each(definition, words, count, runs)
    if storage.startswith("sqlite"):
        raise UserError(
            "--slurm: got an SQLite file, which machines cannot share; use --storage postgresql://... or none"
        )
    workers = min(count or _MOST_WORKERS, runs)
    secret = _has_password(storage)
    given = f'"${{{_STORAGE}:?is not set}}"' if secret else shlex.quote(storage)
    export = f"; first: export {_STORAGE}=postgresql://USER:PASSWORD@HOST/DATABASE" if secret else ""
    study = shlex.quote(str(folder))
    return _fill(
        definition,
        about=f"# {workers} workers on the study {definition.name} ({runs} runs){export}",
        last=workers - 1,
        at_once="",
        start=_WORKER.format(study=study, command=f"{shlex.join(words)} --storage {given}"),
        end=f"# Afterwards: maekit report {study}",
    )


def _one_run_each(definition: Definition, words: list[str], count: int | None, runs: int) -> str:
    if definition.pruning != "none" or definition.sampler != "grid":
        what = f"--pruner {definition.pruning}" if definition.pruning != "none" else f"--sampler {definition.sampler}"
        raise UserError(
            f"--slurm: got {what} without a database, expected one, since its runs depend on each other; "
            "add --storage postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    return _fill(
        definition,
        about=f"# The {runs} runs of the study {definition.name}, one a task",
        last=runs - 1,
        at_once=f"%{count}" if count else "",
        start=f'{shlex.join(words)} --trial "$SLURM_ARRAY_TASK_ID"',
        end=f"# Afterwards, to collect the runs and print the table: {shlex.join(words)}",
    )


def _fill(definition: Definition, **parts: str | int) -> str:
    job = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in definition.name)
    return _SCRIPT.format(job=job, here=shlex.quote(str(Path.cwd())), **parts)


def _has_password(url: str) -> bool:
    """Whether a script that anyone may read would tell it."""
    user, at, _ = url.partition("://")[2].partition("@")
    return bool(at and ":" in user) or "password=" in url
