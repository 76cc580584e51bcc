"""Two processes that srun started, without a run: they meet, agree, and send a file."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.loopback import unused_port

STARTED = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_NAME": "x"}
SCRIPT = """
import json, sys
from datetime import timedelta
from pathlib import Path
import torch
from maekit.errors import UserError
from maekit.system.launch import find_launch
from maekit.training.processes import agreed, meeting, sent_file

launch, folder, said = find_launch(), Path(sys.argv[1]), {}
first = launch.rank == 0
meeting.expect(2)
try:
    fault = UserError("no such flag") if sys.argv[2] == str(launch.rank) else None
    meeting.join(launch, torch.device("cpu"), timedelta(seconds=90), fault)
    said["gathered"] = meeting.gathered(launch.rank)
    said["first"] = meeting.on_first(lambda: f"from {launch.rank}")
    late, now = agreed.Agreed(2), agreed.Agreed(0)
    numbers = [0, 0, 3, 0, 0] if not first else [0, 0, 1, 0, 0]
    said["late"] = [*(late.largest(number) for number in numbers), late.last()]
    said["now"] = [now.largest(number) for number in numbers]
    with sent_file.on_this_machine(folder / "0/last.ckpt", launch.rank) as path:
        said["same"] = path == folder / "0/last.ckpt"
    sent_file.PIECE_BYTES = 1000
    with sent_file.on_this_machine(Path("last.ckpt"), launch.rank) as here:  # process 1 has none in its folder
        said["sent"] = [here == Path("last.ckpt"), here.name, here.read_bytes() == path.read_bytes()]
    said["left"] = here.exists() and not first
    with meeting.one_outcome():
        if not first:
            raise UserError("the disk is full")
except UserError as error:
    said["error"] = [str(error), error.shared]
print(json.dumps(said))
"""


def both(folder: Path, failing: str = "none") -> list[dict[str, object]]:
    (folder / "0").mkdir()
    (folder / "1").mkdir()
    (folder / "0/last.ckpt").write_bytes(bytes(range(256)) * 10)
    env = {**os.environ, **STARTED, "MASTER_PORT": str(unused_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), failing],
            env=env | dict.fromkeys(("SLURM_PROCID", "SLURM_NODEID"), str(rank)) | {"SLURM_LOCALID": "0"},
            cwd=folder / str(rank),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    return [json.loads(process.communicate(timeout=200)[0].splitlines()[-1]) for process in processes]


def test_two_processes_meet_agree_and_send_a_file(tmp_path: Path) -> None:
    first, second = both(tmp_path)
    assert first["error"] == second["error"]
    text = str(first.pop("error"))
    assert str(second.pop("error")) == text
    assert "process 1 on " in text
    assert "the disk is full', True" in text
    assert first.pop("sent") == [True, "last.ckpt", True]
    assert second.pop("sent") == [False, "last.ckpt", True]
    assert first == second
    assert first == {
        "gathered": [0, 1], "first": "from 0", "late": [0, 0, 0, 0, 3, 0], "now": [0, 0, 3, 0, 0], "same": True,
        "left": False,
    }  # fmt: skip


def test_a_process_that_fails_before_they_meet_ends_both(tmp_path: Path) -> None:
    first, second = both(tmp_path, failing="1")
    assert first == second
    assert list(first) == ["error"]
    assert "no such flag', True" in str(first["error"])
