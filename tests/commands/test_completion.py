"""Tab completion: what a shell is answered for a line that is being typed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maekit.cli import main
from maekit.recipes.known_keys import known_keys
from maekit.recipes.remembered import remember
from maekit.recipes.settings import make_parser
from maekit.recipes.tasks import find_task
from tests.runs.listing.helpers import make

# Answers each line in a process of its own, as a shell's Tab does; forked, so that modules are imported once.
ANSWER = """
import json, os, sys
import argcomplete, maekit.commands.shared.completing
from maekit import cli
found = {}
for line in json.loads(sys.argv[1]):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.dup2(theirs, 8)
        os.environ |= {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "|", "_ARGCOMPLETE_SHELL": "bash", "COMP_TYPE": "9",
                       "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
                       "_ARGCOMPLETE_COMP_WORDBREAKS": " \\t\\n\\"'><=;|&(:"}
        left = os._exit
        def leave(status):
            heavy = {"torch", "numpy", "jsonargparse", "lightning"} & set(sys.modules)
            os.write(8, f"|imported {heavy}".encode() if heavy else b"")
            left(status)
        os._exit = leave
        cli.main([])
        left(3)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        found[line] = [word.strip() for word in answer.read().split("|")]
    os.wait()
print(json.dumps(found))
"""


def make_place(folder: Path) -> Path:
    """A folder with three runs and a file."""
    for name in ("flowers/base/0", "flowers/smoke/0", "flowers/smoke/7"):
        make(folder / "runs" / name)
    (folder / "weights.pth").touch()
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


OFFERED: list[tuple[str, set[str], set[str]]] = [
    ("maekit ", {"fit", "runs", "export", "help"}, set()),
    ("maekit pre", {"predict"}, {"fit"}),
    ("maekit help ru", {"runs"}, {"report"}),
    ("maekit fit --", {"--task", "--ckpt_path", "--trainer.max_steps", "--run.name"}, set()),
    ("maekit fit --task ", {"imagenet_finetune", "coco_maskrcnn"}, set()),
    ("maekit fit --task ade20k_upernet --recipe ", {"base", "smoke", "few"}, {"dino_base"}),
    ("maekit fit --recipe sm", {"smoke"}, set()),
    ("maekit fit --task imagenet_finetune --optim.l", {"--optim.layer_decay", "--optim.lr"}, {"--model.weights"}),
    ("maekit fit --task imagenet_finetune --optim.layer_decay 0.7 --model.w", {"--model.weights"}, set()),
    ("maekit fit --trainer.precision ", {"auto", "bf16-mixed"}, {"weights.pth"}),
    ("maekit fit --trainer.benchmark ", {"true", "false", "null"}, set()),
    ("maekit fit --task imagenet_finetune --model.weights mae_", {"mae_vit_base", "mae_vit_smoke"}, set()),
    ("maekit fit --task imagenet_finetune --model.weights wei", {"weights.pth"}, {"mae_vit_base"}),
    ("maekit fit --ckpt_path ", {"last", "best", "7", "flowers/base/0", "weights.pth"}, {"0"}),
    ("maekit predict --model flow", {"flowers/base/0", "flowers/smoke/7"}, set()),
    ("maekit runs ", {"rm", "prune", "--sort"}, set()),
    ("maekit runs --state ", {"running", "failed"}, set()),
    ("maekit runs rm ", {"7", "flowers/smoke/0"}, set()),
    ("maekit runs prune --k", {"--keep-best"}, {"--task"}),
    ("maekit runs --sort=s", {"size", "step"}, {"age"}),
    ("maekit show imagenet_finetune --recipe b", {"base"}, set()),
    ("maekit weights convert mae_vit_smoke out --to ", {"mae", "timm"}, set()),
    ("maekit data check --task mae", {"mae_pretrain"}, set()),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What is offered after each line, with an empty cache."""
    folder = make_place(tmp_path_factory.mktemp("completion"))
    lines = json.dumps([line for line, _, _ in OFFERED])
    environment = {**os.environ, "MAEKIT_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, lines], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("line", "some", "none"), OFFERED)
def test_what_is_offered(line: str, some: set[str], none: set[str], answers: dict[str, list[str]]) -> None:
    """Without importing torch."""
    found = set(answers[line])
    assert some <= found, found
    assert not none & found
    assert not [word for word in found if word.startswith("imported")]


def test_all_keys_of_a_task_are_known_once_it_was_imported(place: Path) -> None:
    task = find_task("coco_maskrcnn")
    assert {"optim.layer_decay", "trainer.devices"} <= set(known_keys("coco_maskrcnn"))
    module = task.load()
    remember(task, module)
    known = known_keys("coco_maskrcnn")
    every = make_parser(module, training=True).get_defaults().as_flat().__dict__
    assert set(map(str, every)) - {"config"} <= set(known)
    assert "detectron2" in known["model.detector"].split("|")
    assert known["data.root"] == "TEXT|null"
    assert {key.split(".")[0] for key in known_keys(None)} == {"trainer", "run"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_s_code_is_printed_and_read_by_the_shell(
    shell: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["completion", shell]) == 0
    code = capsys.readouterr().out
    assert "maekit" in code
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert main(["completion"]) == 0
    assert capsys.readouterr().out == code
    if shutil.which(shell):
        (place / "code").write_text(code)
        check = {"bash": "; complete -p maekit", "zsh": "", "fish": ""}[shell]
        before = "autoload -U compinit && compinit -u -D; " if shell == "zsh" else ""
        done = subprocess.run(
            [shell, "-c", f"{before}source ./code{check}"], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_an_unknown_shell_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["completion"]) == 2
    assert "tcsh" in capsys.readouterr().err
    assert main(["completion", "tcsh"]) == 2
