"""SLURM on this machine: the documented script, `srun` and `scontrol` that do what SLURM's do, and deaths on time.

`python -m tests.helpers_nodes ARGS` is `maekit ARGS`; MAEKIT_TEST_END="STEP SIGNAL RANK..." has processes of these
ranks send themselves a signal once so many optimizer steps are done.
"""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from maekit.system.rank import rank
from tests.helpers_run import At, environment

ROOT = Path(__file__).parents[1]
PORT, JOB = "29517", "4711"


def batch_script() -> str:
    """The script for `sbatch` of docs/many_gpus.md."""
    page = (ROOT / "docs/many_gpus.md").read_text()
    found = re.search(r"```bash[^\n]*\n(#!/bin/bash\n#SBATCH.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def asked(script: str, option: str) -> int:
    """The number that a script asks SLURM for."""
    found = re.search(rf"^#SBATCH --{option}=(\d+)$", script, re.MULTILINE)
    assert found is not None
    return int(found[1])


def sbatch(folder: Path, script: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a batch script as SLURM does, with nodes that share no folder: `folder/node0`, `folder/node1`."""
    programs = {
        "srun": f'exec {sys.executable} -m tests.helpers_nodes srun "$@"',
        "scontrol": f'echo "$@" >> {folder}/scontrol.txt',
    }
    (folder / "bin").mkdir(exist_ok=True)
    for name, line in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / "bin" / name).chmod(0o755)
    (folder / "job.sh").write_text(script)
    given = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SLURM_JOB_ID": JOB,
        "SLURM_NNODES": str(asked(script, "nodes")), "SLURM_JOB_NAME": "job.sh", "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NTASKS_PER_NODE": str(asked(script, "ntasks-per-node")), "MASTER_PORT": PORT, **more,
    }  # fmt: skip
    return subprocess.run(
        ["bash", "job.sh"],
        cwd=folder,
        env=environment() | given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def srun(words: list[str]) -> int:
    """Starts the tasks; a second after one has failed it kills the others, with --kill-on-bad-exit."""
    nodes, each = int(os.environ["SLURM_NNODES"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
    kills = "--kill-on-bad-exit=1" in words
    command = [sys.executable, "-m", "tests.helpers_nodes", *words[words.index("maekit") + 1 :]]
    tasks = []
    for number in range(nodes * each):
        node, local = divmod(number, each)
        place = {"PROCID": number, "LOCALID": local, "NODEID": node, "NTASKS": nodes * each}
        Path(f"node{node}").mkdir(exist_ok=True)
        env = os.environ | {f"SLURM_{name}": str(value) for name, value in place.items()}
        tasks.append(subprocess.Popen(command, cwd=f"node{node}", env=env))
    while any(task.poll() is None for task in tasks):
        if kills and any(task.poll() for task in tasks):
            time.sleep(1.0)
            for task in tasks:
                task.kill()
        time.sleep(0.05)
    return max(128 - code if code < 0 else code for code in (task.returncode for task in tasks))


def ending(word: str) -> list[At]:
    """The callback that MAEKIT_TEST_END asks for in this process."""
    step, number, *ranks = word.split()
    if str(rank()) not in ranks:
        return []
    return [At(int(step), lambda *_: os.kill(os.getpid(), signal.Signals[number]))]


def main() -> int:
    """`srun`, or `maekit` with an ending."""
    if sys.argv[1] == "srun":
        return srun(sys.argv[2:])
    from maekit import api
    from maekit.cli import main as maekit

    if word := os.environ.get("MAEKIT_TEST_END"):
        fit: Any = api.Session.fit
        api.Session.fit = functools.partialmethod(fit, callbacks=ending(word))  # type: ignore[assignment]
    return maekit(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
