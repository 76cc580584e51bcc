"""The rank of this process in a distributed run. Standard library only."""

import os


def rank() -> int:
    """This process's rank as the launcher (torchrun, Lightning or SLURM) set it in the environment; 0 without one.

    Lightning's own launcher says no rank: it is the process's number on its machine, or on machines after the first
    the machine's number, so that only the first process of the run has 0. Under srun a NODE_RANK that the job exported
    counts too.
    """
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    names = ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return max((int(os.environ[name]) for name in names if name in os.environ), default=0)
