"""Tells Lightning which process this is, where torchrun or SLURM's srun started it."""

import os
import socket

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy

from maekit.system.launch import Launch, address_of, check_launch_size, find_launch


class Launched(ClusterEnvironment):
    """The processes that a launcher started, as `find_launch` reads them.

    Why not Lightning's own two: under `srun torchrun` both are detected; SLURM's refuses tasks that were not given for
    each node, reads a world of one task beside several devices without a word, and a missing variable is a KeyError.

    Args:
        launch: the place of this process.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self.launch = launch

    @property
    def creates_processes_externally(self) -> bool:
        """Always true: the launcher started every process."""
        return True

    @property
    def main_address(self) -> str:
        """The host of process 0."""
        return address_of(self.launch)

    @property
    def main_port(self) -> int:
        """The port of process 0's store."""
        return self.launch.port

    @staticmethod
    def detect() -> bool:
        """Whether a launcher started this process."""
        return find_launch() is not None

    def world_size(self) -> int:
        """The number of processes."""
        return self.launch.world

    def set_world_size(self, size: int) -> None:
        """Changes nothing: the launcher decides."""

    def global_rank(self) -> int:
        """The number of this process."""
        return self.launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Changes nothing: the launcher decides."""

    def local_rank(self) -> int:
        """The number of this process on its machine."""
        return self.launch.local_rank

    def node_rank(self) -> int:
        """The number of this process's machine."""
        return self.launch.node

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Refuses flags that contradict the launcher."""
        check_launch_size(self.launch, num_devices, num_nodes, os.environ)


def make_environment() -> ClusterEnvironment | None:
    """Returns the launcher's processes; Lightning's own launcher in a SLURM job of one task; None: Lightning looks."""
    launch = find_launch()
    if launch is not None:
        return Launched(launch)
    return LightningEnvironment() if "SLURM_NTASKS" in os.environ else None


def environment_of(trainer: Trainer) -> ClusterEnvironment | None:
    """Returns how Lightning sees the processes of a run; None in a single one."""
    strategy = trainer.strategy
    return strategy.cluster_environment if isinstance(strategy, ParallelStrategy) else None


def waiting_line(num_nodes: int, environment: ClusterEnvironment | None) -> str | None:
    """Returns what to type on the other machines of a run that no launcher started; None with one, or on one machine.

    Args:
        num_nodes: machines of the run.
        environment: Lightning's, of this process.
    """
    if num_nodes == 1 or not isinstance(environment, LightningEnvironment):
        return None
    host = os.environ.get("MASTER_ADDR", socket.gethostname())
    return (
        f"nodes   waits for {num_nodes - 1} more: NODE_RANK=1 MASTER_ADDR={host} MASTER_PORT={environment.main_port} "
        "before the same command there"
    )
