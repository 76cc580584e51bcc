"""The number of this process in a distributed run. Standard library only."""

import os


def rank() -> int:
    """This process's number in a distributed run, as the launcher says; 0 when it is alone."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)
