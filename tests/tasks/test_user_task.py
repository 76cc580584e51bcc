"""A task of one's own, given by its path: from any folder, in workers that start afresh, in another process."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from maekit.cli import main
from maekit.errors import UserError
from maekit.recipes import user_tasks
from maekit.recipes.tasks import find_task

TASK = '''"""Birds, seen by me."""

from maekit.base.data import DrawDataset


class Model:
    pass


class Data(DrawDataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, draw):
        return draw.index * WORD
WORD = {word}
'''


def make_task(folder: Path, word: int) -> Path:
    for name in ("tasks", "configs"):
        (folder / name).mkdir(parents=True)
    (folder / "configs/birds.yaml").write_text("model: {a: 1}\n")
    (folder / "tasks/birds.py").write_text(TASK.replace("{word}", str(word)))
    return folder / "tasks/birds.py"


@pytest.fixture(autouse=True)
def no_user_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(user_tasks.ENVIRONMENT, "")


def test_two_tasks_of_one_name_are_two_tasks(tmp_path: Path) -> None:
    one, two = make_task(tmp_path / "one", 1), make_task(tmp_path / "two", 2)
    assert vars(find_task(str(one)).load())["WORD"] == 1
    assert vars(find_task(str(two)).load())["WORD"] == 2
    assert vars(find_task(str(one)).load())["WORD"] == 1
    assert find_task(str(one)).summary() == "Birds, seen by me."


def test_a_fresh_process_unpickles_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_task(tmp_path / "my", 3)
    data = vars(find_task("my/tasks/birds.py").load())["Data"](7)
    monkeypatch.chdir("/")
    code = "import pickle, sys; print(len(pickle.loads(sys.stdin.buffer.read())))"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(data), capture_output=True, check=False)
    assert done.stdout.decode().strip() == "7", done.stderr.decode()


def test_workers_that_start_afresh_load_its_samples(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader

    from maekit.base.spec import Draw

    data = vars(find_task(str(make_task(tmp_path, 3))).load())["Data"](4)
    context = multiprocessing.get_context("spawn")
    draws = [Draw(0, index) for index in range(4)]
    loader = DataLoader(data, batch_size=None, sampler=draws, num_workers=1, multiprocessing_context=context)
    assert list(loader) == [0, 3, 6, 9]


def test_what_a_task_lacks_is_said(tmp_path: Path) -> None:
    file = make_task(tmp_path, 1)
    file.write_text('"""Half a task."""\nclass Model: pass\n')
    with pytest.raises(UserError, match="defines no class 'Data'"):
        find_task(str(file)).load()
    file.write_text("class Model(:\n")
    with pytest.raises(UserError, match=r"birds\.py:1: not valid Python"):
        find_task(str(file)).summary()


def test_a_copied_task_runs_from_another_folder_and_its_checkpoint_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.conftest import TINY, few_digits

    assert main(["copy", "imagenet_finetune", str(tmp_path / "my"), "--name", "birds"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    flags = [*TINY, f"--data.root={few_digits()}", "--trainer.max_steps=2"]
    assert main(["fit", "--task", "../my/tasks/birds.py", "--recipe", "smoke", *flags]) == 0
    run = tmp_path / "elsewhere/runs/birds/smoke/0"
    monkeypatch.chdir("/")
    os.environ.pop(user_tasks.ENVIRONMENT, None)
    capsys.readouterr()
    assert main(["validate", "--ckpt_path", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["top1"] == json.loads((run / "metrics.json").read_text())["val"]["top1"]
