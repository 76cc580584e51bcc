"""The place of a process among those that a launcher started, from its environment alone."""

import pytest

from maekit.errors import UserError
from maekit.system.launch import Launch, address_of, check_launch_size, find_launch, node_number
from maekit.system.rank import rank

SRUN = {
    "SLURM_JOB_ID": "104711", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NTASKS": "4",
    "SLURM_NNODES": "2", "SLURM_NODELIST": "gpu[07-08]", "SLURM_JOB_NAME": "run",
}  # fmt: skip
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "gpu7", "MASTER_PORT": "29500",
    "TORCHELASTIC_RESTART_COUNT": "0",
}  # fmt: skip


def without(environ: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}


def test_both_launchers_give_a_process_its_place() -> None:
    assert find_launch(SRUN) == Launch("srun", 3, 1, 1, 4, 2, None, 19711)
    assert find_launch(TORCHRUN) == Launch("torchrun", 3, 1, 1, 4, 2, "gpu7", 29500)
    assert find_launch(SRUN | TORCHRUN | {"RANK": "2"}) == Launch("torchrun", 2, 1, 1, 4, 2, "gpu7", 29500)
    assert (node_number(SRUN), node_number({"NODE_RANK": "1"}), node_number({})) == (1, 1, 0)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        without(SRUN, "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),  # a shell of salloc
        without(SRUN | {"SLURM_PROCID": "0"}, "SLURM_NTASKS"),  # a batch script without --ntasks
        SRUN | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        SRUN | {"SLURM_JOB_NAME": "bash"},
        {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"},  # Lightning's
    ],
)
def test_without_a_launcher_there_is_no_place(environ: dict[str, str]) -> None:
    assert find_launch(environ) is None


@pytest.mark.parametrize("name", ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NNODES"])
def test_a_missing_variable_of_srun_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is not set"):
        find_launch(without(SRUN, name))


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_a_missing_variable_of_torchrun_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is not set"):
        find_launch(without(TORCHRUN, name))


@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("gpu7", "gpu7"), ("gpu[07-08]", "gpu07"), ("gpu[3,5-9],cpu1", "gpu3"), ("a1,b[2-3]", "a1"),
        ("10.0.0.[1-2]", "10.0.0.1"), ("r1-n[4]", "r1-n4"),
    ],
)  # fmt: skip
def test_the_first_node_of_slurms_list_has_process_0(listed: str, host: str) -> None:
    launch = find_launch(SRUN)
    assert launch is not None
    assert address_of(launch, {"SLURM_NODELIST": listed}) == host
    with pytest.raises(UserError, match="SLURM_NODELIST"):
        address_of(launch, {})


@pytest.mark.parametrize(
    ("devices", "nodes", "expected"),
    [
        (2, 2, None),
        (4, 1, "trainer.devices 4 and trainer.num_nodes 1 make 4 on 1; give --trainer.devices 2 --trainer.num_nodes 2"),
        (2, 1, "trainer.devices 2 and trainer.num_nodes 1 make 2 on 1"),
        (1, 4, "give --trainer.devices 2 --trainer.num_nodes 2"),
        (8, 2, "started 4 processes on 2 machines"),
    ],
)
@pytest.mark.parametrize("environ", [SRUN, TORCHRUN])
def test_flags_that_contradict_the_launcher_are_refused(
    environ: dict[str, str], devices: int, nodes: int, expected: str | None
) -> None:
    launch = find_launch(environ)
    if expected is None:
        check_launch_size(launch, devices, nodes, environ)
    else:
        with pytest.raises(UserError) as caught:
            check_launch_size(launch, devices, nodes, environ)
        assert expected in str(caught.value)


def test_machines_without_a_launcher_need_all_three_variables_or_none() -> None:
    own = {"NODE_RANK": "1", "MASTER_ADDR": "gpu7", "MASTER_PORT": "29500"}
    check_launch_size(None, 2, 2, own)
    check_launch_size(None, 2, 2, {})
    check_launch_size(None, 2, 1, {"NODE_RANK": "1"})
    for name in own:
        with pytest.raises(UserError, match=f"{name} not"):
            check_launch_size(None, 2, 2, without(own, name))
    with pytest.raises(UserError, match="got NODE_RANK 2, expected 0 to 1"):
        check_launch_size(None, 2, 2, own | {"NODE_RANK": "2"})


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({}, True), (SRUN, False), (TORCHRUN, False), (SRUN | {"SLURM_PROCID": "0"}, True),
        (SRUN | {"NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True), ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False), ({"NODE_RANK": "1"}, False),
        (TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),
    ],
)  # fmt: skip
def test_one_process_of_a_run_is_the_first(
    environ: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*SRUN, *TORCHRUN, "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert (rank() == 0) is first
