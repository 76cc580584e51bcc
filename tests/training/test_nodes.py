"""Two nodes that share no disk train as four processes of one do, and what happens when one of them is lost."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maekit.base.checkpoint_card import read_card
from maekit.cli import main
from maekit.runs.read import Run
from maekit.runs.rows import text_rows
from tests.conftest import TINY, few_digits
from tests.helpers_nodes import JOB, asked, batch_script, sbatch
from tests.helpers_run import environment, weights
from tests.loopback import unused_port

RUN = "runs/imagenet_finetune/smoke/0"
STILL = ("--model.drop_path=0", "--model.mixup=0", "--model.cutmix=0", "--optim.base_lr=2e-3")


def command(*more: str) -> list[str]:
    flags = [*TINY, *STILL, "--data.device_batch_size=4", "--trainer.max_steps=6", "--trainer.accelerator=cpu"]
    return ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", *flags, f"--data.root={few_digits()}", *more]


def test_the_readmes_batch_script_is_bash_and_asks_for_what_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    script = batch_script()
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    words = script.partition("srun --kill-on-bad-exit=1 maekit ")[2].replace("\\\n", " ").replace('"$ADE"', ".").split()
    assert main([*words, "--print_config"]) == 0
    shown = capsys.readouterr().out
    assert f"devices: {asked(script, 'ntasks-per-node')}\n" in shown
    assert f"num_nodes: {asked(script, 'nodes')}\n" in shown
    assert "#SBATCH --requeue\n" in script
    assert "#SBATCH --signal=USR1@" in script  # not B:, which signals the script alone


def same_run(found: Path, whole: Path, steps: range, rtol: float) -> None:
    one, two = ({int(r["step"]): float(r["loss"]) for r in text_rows(run / "train.csv")} for run in (whole, found))
    torch.testing.assert_close([two[step] for step in steps], [one[step] for step in steps], rtol=rtol, atol=0)
    assert read_card(found / "last.ckpt").step == read_card(whole / "last.ckpt").step
    a, b = weights(whole / "last.ckpt"), weights(found / "last.ckpt")
    assert max(float((a[name] - b[name]).abs().max()) for name in a if "attn.qkv.bias" not in name) < 1e-4


@pytest.mark.slow
def test_two_nodes_are_four_processes_and_a_lost_node_costs_nothing(tmp_path: Path) -> None:
    _one_machine(tmp_path / "one")
    _torchrun(tmp_path / "torchrun")
    same_run(tmp_path / "torchrun/0" / RUN, tmp_path / "one" / RUN, range(1, 7), 1e-6)
    assert not list((tmp_path / "torchrun/1").iterdir())
    _slurm(tmp_path / "slurm", tmp_path / "one" / RUN)


def _one_machine(folder: Path) -> None:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "maekit", *command("--trainer.devices=4")],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "device  4 x cpu" in done.stdout


def _torchrun(folder: Path) -> None:
    """Two agents, each in a folder of its own."""
    port, agents = unused_port(), []
    for node in (0, 1):
        (folder / str(node)).mkdir(parents=True)
        words = f"--nnodes 2 --node_rank {node} --nproc_per_node 2 --master_addr 127.0.0.1 --master_port {port}"
        run = [*words.split(), "-m", "maekit", *command("--trainer.devices=2", "--trainer.num_nodes=2")]
        both = [sys.executable, "-m", "torch.distributed.run", *run]
        pipe, cwd = subprocess.PIPE, folder / str(node)
        agents.append(subprocess.Popen(both, cwd=cwd, env=environment(), stdout=pipe, stderr=pipe, text=True))
    outputs = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert "device  2 nodes x 2 cpu" in outputs[0][0]
    assert not outputs[1][0]
    assert Run(folder / "0" / RUN).environment["nodes"] == [socket.gethostname()] * 2


def _slurm(folder: Path, whole: Path) -> None:
    """The documented job: SIGUSR1 to one process requeues it; then a node is killed; then one machine goes on."""
    folder.mkdir()
    given = batch_script().partition("maekit fit ")[2].partition("--trainer.num_nodes")[0]
    script = batch_script().replace(given, " ".join(command("--run.save_every_minutes=0")[1:]) + " ")
    script = script.replace("devices 8", "devices 2").replace("per-node=8", "per-node=2")
    run = folder / "node0" / RUN

    stopped = sbatch(folder, script, MAEKIT_TEST_END="2 SIGUSR1 3")
    assert "stopped by SIGUSR1 at step" in stopped.stderr, stopped.stderr
    assert stopped.stderr.count("the job is back in the queue, saved; go on with") == 1
    assert (folder / "scontrol.txt").read_text() == f"requeue {JOB}\n"
    assert not list((folder / "node1").iterdir())
    step = read_card(run / "last.ckpt").step

    script = script.replace(" --kill-on-bad-exit=1", "")
    lost = sbatch(folder, script, SLURM_RESTART_COUNT="1", MAEKIT_TEST_END=f"{step + 1} SIGKILL 2 3")
    lines = [line for line in lost.stderr.splitlines() if line.startswith("maekit: ")]
    assert len(lines) == 1, lost.stderr
    assert lines[0].startswith("maekit: process 0 on ")
    assert "another process of the run ended" in lines[0]
    assert "saved; go on with: maekit fit" in lines[0] or f"saved at step {step + 1}" in lines[0]
    assert f"resume  runs/imagenet_finetune/smoke/0/last.ckpt at step {step}" in lost.stdout
    assert not list((folder / "node1").iterdir())

    copy = folder / "alone" / RUN
    shutil.copytree(run, copy)
    assert main([*command(), "--data.device_batch_size=16", "--ckpt_path", str(copy)]) == 0
    same_run(copy, whole, range(1, 7), 1e-4)
