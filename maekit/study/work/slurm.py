"""A SLURM array script for a study: each array task is a worker on a database, or does one run in a shared folder."""

import shlex
from pathlib import Path

from maekit.errors import UserError
from maekit.study.define.definition import Definition

_STORAGE = "MAEKIT_STORAGE"
_DEFAULT_WORKERS = 8  # at most; --parallel changes it

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

# 90 seconds before the time limit: save, stop, and requeue this task, which then resumes.
requeue() {{
    kill -TERM "$work" 2>/dev/null
    wait "$work"
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    exit 0
}}
trap requeue USR1

cd {here} || exit 2
{start} &
work=$!
wait "$work"
exit $?
{end}
"""

_WORKER = """\
# Task 0 creates the study, the others join it.
study={study}
join=--join
if [ ! -f "$study/study.json" ]; then
    if [ "$SLURM_ARRAY_TASK_ID" -eq 0 ]; then join=""; fi
    until [ -z "$join" ] || [ -f "$study/study.json" ]; do sleep 10; done
fi
{command} $join"""


def script(definition: Definition, command: list[str], folder: Path, storage: str | None, parallel: str) -> str:
    """The array script of a study.

    With a database each array task is a worker that takes runs until none is left. Without one each task does one run
    of the grid, and the script's last line is the command that collects them.

    Args:
        definition: the study.
        command: the `maekit sweep` command that creates it, without flags about the database and the machine.
        folder: the study's folder, on a disk that all machines share.
        storage: the database's URL; None without one.
        parallel: `--parallel`: how many array tasks at once.

    Raises:
        UserError: the study needs a database that several machines can share.
    """
    count = int(parallel) if parallel.isdecimal() and int(parallel) > 1 else None
    runs = definition.total_cells * len(definition.repeats)
    if storage is None:
        return _one_run_each(definition, command, count, runs)
    if storage.startswith("sqlite"):
        raise UserError(
            "--slurm: got an SQLite file, which machines cannot share; use --storage postgresql://... or none"
        )
    workers = min(count or _DEFAULT_WORKERS, runs)
    user, at, _ = storage.partition("://")[2].partition("@")
    secret = bool(at and ":" in user) or "password=" in storage  # anyone may read the script
    url = f'"${{{_STORAGE}:?is not set}}"' if secret else shlex.quote(storage)
    export = f"; first: export {_STORAGE}=postgresql://USER:PASSWORD@HOST/DATABASE" if secret else ""
    study = shlex.quote(str(folder))
    return _fill(
        definition,
        about=f"# {workers} workers on the study {definition.name} ({runs} runs){export}",
        last=workers - 1,
        at_once="",
        start=_WORKER.format(study=study, command=f"{shlex.join(command)} --storage {url}"),
        end=f"# Afterwards: maekit report {study}",
    )


def _one_run_each(definition: Definition, command: list[str], count: int | None, runs: int) -> str:
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
        start=f'{shlex.join(command)} --trial "$SLURM_ARRAY_TASK_ID"',
        end=f"# Afterwards, to collect the runs and print the table: {shlex.join(command)}",
    )


def _fill(definition: Definition, **parts: str | int) -> str:
    job = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in definition.name)
    return _SCRIPT.format(job=job, here=shlex.quote(str(Path.cwd())), **parts)
