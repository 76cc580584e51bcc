"""The rank of this process in a distributed run. Standard library only."""

import os


def rank() -> int:
    """This process's rank as the launcher (torchrun, Lightning or SLURM) set it in the environment; 0 without one."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)
