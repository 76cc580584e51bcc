"""Which process of a distributed run this is, as torchrun or SLURM's srun says it. Standard library only."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from maekit.errors import UserError

_SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NNODES")
_TORCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OWN = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_NODES = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
_INTERACTIVE = ("bash", "interactive")  # SLURM's names of jobs that are shells


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that a launcher started.

    Attributes:
        by: what started the processes.
        rank: number of this process, from 0.
        local_rank: its number on its machine.
        node: number of its machine.
        world: number of processes.
        nodes: number of machines; None where the launcher does not say.
        address: `host` of process 0's store; None where SLURM's list of nodes says it.
        port: of that store.
        restarts: how often torchrun has started all processes again.
    """

    by: Literal["torchrun", "srun"]
    rank: int
    local_rank: int
    node: int
    world: int
    nodes: int | None
    address: str | None
    port: int
    restarts: int = 0


def find_launch(environ: Mapping[str, str] = os.environ) -> Launch | None:
    """Returns the place that the environment gives this process; None if no launcher started several processes.

    torchrun takes precedence, since it may be started by srun. Lightning's own launcher is none of both: it starts the
    other processes of its machine itself.

    Raises:
        UserError: a variable is missing, or is no number; it is named.
    """
    if "TORCHELASTIC_RUN_ID" in environ or ("RANK" in environ and environ.get("WORLD_SIZE", "1") != "1"):
        return _by_torchrun(environ)
    if environ.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return None
    tasks, place = environ.get("SLURM_NTASKS"), [name for name in _SLURM[:3] if name in environ]
    if tasks == "1" or not place or (tasks is None and environ.get("SLURM_PROCID", "0") == "0"):
        return None  # one task, or a batch script or shell in which srun did not start this process
    return _by_srun(environ)


def node_number(environ: Mapping[str, str] = os.environ) -> int:
    """Returns the number of this process's machine, from 0."""
    launch = find_launch(environ)
    return launch.node if launch is not None else int(environ.get("NODE_RANK", "0"))


def address_of(launch: Launch, environ: Mapping[str, str] = os.environ) -> str:
    """Returns the host of process 0: MASTER_ADDR, else the first of SLURM's nodes, as `node7` of `node[7-9,12],other`.

    Raises:
        UserError: SLURM names none, and there are several machines.
    """
    if launch.address is not None:
        return launch.address
    listed = next((environ[name] for name in _NODES if environ.get(name)), None)
    if listed is None and launch.nodes != 1:
        raise UserError(
            f"neither MASTER_ADDR nor SLURM_NODELIST is set, expected the host of process 0 of {launch.world}; start "
            "with srun, or export MASTER_ADDR"
        )
    return "127.0.0.1" if listed is None else re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", listed).split(",")[0].split()[0]


def check_launch_size(launch: Launch | None, devices: int, num_nodes: int, environ: Mapping[str, str]) -> None:
    """Refuses flags that contradict the launcher's number of processes or machines.

    Args:
        launch: of `find_launch`.
        devices: processes of a machine, by `trainer.devices`.
        num_nodes: machines, by `trainer.num_nodes`.
        environ: the environment, for machines on which Lightning starts the processes.

    Raises:
        UserError: with the flags that fit, or the variables that are missing.
    """
    if launch is None:
        if num_nodes > 1:
            _check_own(environ, num_nodes)
        return
    nodes = launch.nodes or num_nodes
    if devices * num_nodes == launch.world and num_nodes == nodes:
        return
    got = f"{launch.by} started {launch.world} processes on {nodes} machine{'s' if nodes > 1 else ''}"
    given = f"trainer.devices {devices} and trainer.num_nodes {num_nodes} make {devices * num_nodes}"
    if launch.world % nodes:
        raise UserError(f"{got}, expected the same number on each; {given}: start {devices * num_nodes} processes")
    raise UserError(
        f"{got}, and {given}{'' if num_nodes == nodes else f' on {num_nodes}'}; "
        f"give --trainer.devices {launch.world // nodes} --trainer.num_nodes {nodes}, or start as many processes"
    )


def _by_torchrun(environ: Mapping[str, str]) -> Launch:
    rank, local_rank, world = (_number(environ, name, _TORCH, "torchrun") for name in _TORCH[:3])
    port = _number(environ, "MASTER_PORT", _TORCH, "torchrun")
    if "MASTER_ADDR" not in environ:
        raise _missing("MASTER_ADDR", _TORCH, "torchrun")
    node = environ.get("GROUP_RANK", environ.get("NODE_RANK", "0"))
    nodes, restarts = environ.get("GROUP_WORLD_SIZE", ""), environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return Launch(
        "torchrun", rank, local_rank, int(node), world, int(nodes) if nodes.isdecimal() else None,
        environ["MASTER_ADDR"], port, int(restarts),
    )  # fmt: skip


def _by_srun(environ: Mapping[str, str]) -> Launch:
    rank, local_rank, node, world, nodes = (_number(environ, name, _SLURM, "srun") for name in _SLURM)
    if rank >= world:
        raise UserError(f"got SLURM_PROCID {rank} of SLURM_NTASKS {world}, expected less; start with srun")
    job = environ.get("SLURM_JOB_ID", "")
    default = 15000 + int(job[-4:]) if job[-4:].isdecimal() else 12910  # as Lightning: one port a job
    port = environ.get("MASTER_PORT", str(default))
    if not port.isdecimal():
        raise UserError(f"got MASTER_PORT {port}, expected a number; leave it out, and the job's number decides")
    return Launch("srun", rank, local_rank, node, world, nodes, environ.get("MASTER_ADDR"), int(port))


def _check_own(environ: Mapping[str, str], num_nodes: int) -> None:
    """Checks the variables with which the machines of a run find each other without a launcher; none is fine."""
    there = [name for name in _OWN if name in environ]
    missing = [name for name in _OWN if name not in environ]
    if there and missing and there != ["MASTER_PORT"]:
        raise UserError(
            f"got trainer.num_nodes {num_nodes} with {' and '.join(there)} set and {' and '.join(missing)} not; "
            "set all three on every machine (NODE_RANK from 0), or start with srun or torchrun"
        )
    node = environ.get("NODE_RANK", "0")
    if not node.isdecimal() or int(node) >= num_nodes:
        raise UserError(f"got NODE_RANK {node}, expected 0 to {num_nodes - 1} with trainer.num_nodes {num_nodes}")


def _number(environ: Mapping[str, str], name: str, names: tuple[str, ...], launcher: str) -> int:
    text = environ.get(name)
    if text is None:
        raise _missing(name, names, launcher)
    if not text.isdecimal():
        raise UserError(f"got {name} '{text}', expected a number, as {launcher} sets it")
    return int(text)


def _missing(name: str, names: tuple[str, ...], launcher: str) -> UserError:
    there = [other for other in names if other != name]
    return UserError(
        f"{name} is not set, expected it beside {', '.join(there)}, as {launcher} sets them; start every process with "
        f"{launcher}, or none"
    )
