"""`maekit reproduce` as a user types it, with a small program in the place of `maekit fit`."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from maekit.cli import main
from maekit.paper import children
from tests.paper.helpers import make_run

ADE = "mae_pretrain_vit_base.pth"
MAE_B = "MAE, 1600 epochs on normalised pixels"

# In the place of maekit: writes down its words, and leaves the run that `fit` would, or waits for a signal.
FAKE = """
import json, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, os.environ["TOP"])
from tests.paper.helpers import make_run
words = sys.argv[1:]
given = dict(zip(words[1::2], words[2::2]))
with Path("asked.txt").open("a") as file:
    file.write(json.dumps([words, os.environ["MAEKIT_STOP_WITHOUT_PARENT"]]) + chr(10))
print("from the run")
if "--model.mixup" in given:
    sys.exit(2)
if os.environ.get("WAIT"):
    def told(number, frame):
        Path("told.txt").open("a").write(f"{number} ")
        time.sleep(0.3)
        Path("ended.txt").write_text("")
        sys.exit(128 + number)
    signal.signal(signal.SIGINT, told)
    signal.signal(signal.SIGTERM, told)
    Path("ready.txt").write_text("")
    time.sleep(30)
seed = int(given.get("--run.seed", 0))
folder = Path(given.get("--run.folder", "runs")) / given["--task"] / given["--recipe"] / str(seed)
val = {"mIoU": 48.0 + seed / 10}
make_run(folder, given["--task"], given["--recipe"], val, seed=seed, weights=given["--model.weights"], classes=150)
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("IN1K", "ADE", "COCO", "WAIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOP", str(Path(__file__).resolve().parents[2]))
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(children, "PROGRAM", (sys.executable, str(tmp_path / "fake.py")))
    return tmp_path


def segmented(folder: str, miou: Any, **given: Any) -> Path:
    return make_run(Path(folder), "ade20k_upernet", "base", {"mIoU": miou}, **{"weights": ADE, "classes": 150, **given})


def toy(folder: str) -> Path:
    return make_run(Path(folder), "ade20k_upernet", "smoke", {"mIoU": 67.0}, weights="mae_vit_smoke", classes=11)


def run(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(["reproduce", *shlex.split(words)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def found(words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    status, out, _ = run(f"{words} --json", capsys)
    assert status == 0
    assert len(out.splitlines()) == 1
    return dict(json.loads(out))


def asked() -> list[list[str]]:
    file = Path("asked.txt")
    return [json.loads(line)[0] for line in file.read_text().splitlines()] if file.exists() else []


def test_a_finished_run_and_a_toy(capsys: pytest.CaptureFixture[str]) -> None:
    segmented("runs/ade20k_upernet/base/0", 48.25)
    toy("runs/ade20k_upernet/smoke/0")
    status, out, _ = run("--table 5", capsys)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("Table 5: ADE20K")
    assert lines[lines.index("MAE                                              48.1  53.6") + 1].split() == [
        "yours",
        "48.25",
        ".",
    ]
    assert (
        "  MAE, B: published 48.1, yours 48.25 (seed 0), +0.15: no verdict, since no seed noise was published" in lines
    )
    assert "    recipe base: base/0" in lines
    assert "Missing: 1 run" in lines
    assert "  maekit fit --task ade20k_upernet --recipe large --data.root $ADE --model.weights mae_vit_large" in lines
    assert lines[-2:] == ["In no cell: 1 run", "  smoke/0: no cell is of recipe smoke, a toy and not the paper's data"]


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    segmented("runs/ade20k_upernet/base/0", 48.25)
    toy("runs/ade20k_upernet/smoke/0")
    data = found("--table 5", capsys)
    (table,) = data["tables"]
    filled = {(cell["row"], cell["column"]): cell["filled"] for cell in table["cells"]}
    others = ("supervised", "MoCo v3", "BEiT, its own code run again")
    assert filled == {(row, column): (row, column) == ("MAE", "B") for row in (*others, "MAE") for column in "BL"}
    (group,) = next(cell["groups"] for cell in table["cells"] if (cell["row"], cell["column"]) == ("MAE", "B"))
    assert (group["mean"], group["std"], group["num_seeds"], group["verdict"], group["differs"]) == (
        48.25,
        None,
        1,
        "no published seed noise",
        [],
    )
    assert [entry["value"] for entry in group["runs"]] == [48.25]
    assert [entry["reason"] for entry in data["in_no_cell"]] == [
        "no cell is of recipe smoke, a toy and not the paper's data"
    ]
    values = [number for row in table["rows"] for number in row["values"].values()]
    assert all(set(number) == {"value", "source", "confidence"} for number in values)
    assert data["num_runs"] == 2


def test_without_any_run_every_cell_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    data = found("--table all", capsys)
    assert len(data["tables"]) == 14
    assert not any(cell["filled"] for table in data["tables"] for cell in table["cells"])
    commands = [entry["command"] for entry in data["missing"]]
    assert len(commands) == len(set(commands))
    # 3: 7 trainings and 3 evaluations; 4: 5 detectors and 3 cascades; 5: 2; 6: 20; 11: 3 without an average; 12: 3;
    # 13: 4; fig9: 9; DINOv2: 8 probes and 4 linear heads; DINOv3: 5 linear heads; DINO and MoCo v3: 2 probes each
    assert len(commands) == 10 + 8 + 2 + 20 + 3 + 3 + 4 + 9 + 12 + 5 + 4


def test_a_verdict_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    for seed, value in enumerate((83.0, 83.1)):
        make_run(Path(f"runs/{seed}"), "imagenet_finetune", "base", {"top1": value}, seed=seed, weights=ADE)
    changed = {"optim.layer_decay": 0.75}
    make_run(Path("runs/2"), "imagenet_finetune", "base", {"top1": 83.6}, weights=ADE, changed=changed)
    _, out, _ = run("--table 3", capsys)
    lines = out.splitlines()
    # 2 sqrt(0.08^2 + 0.0707^2 / 2) = 0.19
    assert (
        f"  {MAE_B}, B: published 83.6, yours 83.05 +- 0.07 (2 seeds 0, 1), -0.55: "
        "below, outside the seed noise (+- 0.19, from the published 0.08)" in lines
    )
    place = lines.index(
        f"  {MAE_B}, B: published 83.6, yours 83.60 (seed 0), +0.00: no verdict, since it differs from the recipe"
    )
    assert lines[place + 1 : place + 3] == [
        "    differs: optim.layer_decay 0.75 (recipe: 0.65)",
        "    recipe base: runs/2",
    ]


def test_two_runs_with_clashing_names_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    segmented("a/ade20k_upernet/base/0", 48.0)
    segmented("b/ade20k_upernet/base/0", 48.2, seed=1)
    _, out, _ = run("--table 5 --runs a b", capsys)
    assert "    recipe base: a/ade20k_upernet/base/0, b/ade20k_upernet/base/0" in out.splitlines()


def test_a_nan_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    folder = segmented("runs/0", 48.0)
    (folder / "metrics.json").write_text('{"status": "finished", "val": {"mIoU": NaN}}')
    data = found("--table 5", capsys)
    assert [entry["reason"] for entry in data["in_no_cell"]] == ["its mIoU is not a number"]
    assert data["in_no_cell"][0]["problems"] == ["metrics.json: mIoU is not a number"]
    assert not any(cell["groups"] for cell in data["tables"][0]["cells"])


def test_missing_alone_is_commands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    segmented("runs/0", 48.0, seed=1)
    _, out, _ = run("--table 5 --column B --seeds 3 --missing --data.root '/my data'", capsys)
    words = "maekit fit --task ade20k_upernet --recipe base --model.weights mae_vit_base"
    assert out.splitlines() == [
        f"{words} --data.root '/my data'",
        f"{words} --run.seed 2 --data.root '/my data'",
    ]


@pytest.mark.parametrize("table", ["6", "11", "fig9"])
def test_a_command_has_the_values_that_make_its_cell(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As `fit` itself reads the words: known flags, and whole numbers where the cell has them."""
    from maekit.recipes.recipe import load_recipe
    from maekit.recipes.settings import resolve
    from maekit.recipes.tasks import find_task

    data = found(f"--table {table}", capsys)
    when = {f"{cell['row']}, {cell['column']}": cell["when"] for cell in data["tables"][0]["cells"]}
    entry = data["missing"][-1]
    _, _, _, task, _, recipe, *flags = entry["words"]
    shipped = find_task(task)
    values = resolve(load_recipe(shipped, recipe), shipped.load(), flags, training=False).values
    (wanted,) = when[entry["cells"][0].partition(": ")[2]].items()
    section, _, name = wanted[0].partition(".")
    assert values[section][name] == wanted[1]


def test_no_evaluation_is_written_over_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [entry["words"] for table in ("3", "13") for entry in found(f"--table {table}", capsys)["missing"]]
    outputs = [words[words.index("--output") + 1] for words in commands if words[1] == "validate"]
    assert len(set(outputs)) == len(outputs) == 7
    assert all(output.startswith("runs/validated/") and output.endswith("/0") for output in outputs)
    make_run(Path(outputs[-1]), "imagenet_robustness", "huge_448", {"a_top1": 1.0}, status="validated")
    words = found("--table 13 --column H448", capsys)["missing"][0]["words"]
    assert words[-1] == outputs[-1].removesuffix("0") + "1"


def test_missing_as_json_is_the_missing_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(found("--table 5 --missing", capsys)) == ["missing"]


def test_what_is_missing_is_run(capfd: pytest.CaptureFixture[str]) -> None:
    segmented("runs/ade20k_upernet/base/0", 48.0)
    status = main(
        ["reproduce", "--table", "5", "--column", "B", "--seeds", "3", "--run", "--data.root", "/ade", "--json"]
    )
    printed = capfd.readouterr()
    assert status == 0
    data = json.loads(printed.out)  # the runs' own words are not on stdout
    assert printed.err.count("from the run") == 2
    assert [entry["exit_status"] for entry in data["ran"]] == [0, 0]
    words = ["fit", "--task", "ade20k_upernet", "--recipe", "base", "--model.weights", "mae_vit_base", "--run.seed"]
    assert asked() == [[*words, seed, "--data.root", "/ade"] for seed in ("1", "2")]
    (group,) = next(cell["groups"] for cell in data["tables"][0]["cells"] if cell["row"] == "MAE")
    assert (group["num_seeds"], round(group["mean"], 6)) == (3, 48.1)
    assert data["missing"] == []


def test_new_runs_go_where_the_others_were_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, _ = run("--table 5 --column B --runs mine --run --data.root /ade", capsys)
    assert status == 0
    assert Path("mine/ade20k_upernet/base/0/metrics.json").is_file()


def test_a_run_that_fails_does_not_stop_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run("--table 5 --run --data.root /ade --model.mixup 0.1", capsys)
    assert status == 2
    assert len(asked()) == 2
    last = err.splitlines()[-1]
    assert last.startswith("maekit: 2 of 2 runs failed, the first: maekit fit --task ade20k_upernet --recipe base ")


def test_a_variable_stands_for_the_folder(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = run("--table 5 --run", capsys)
    assert status == 2
    assert err.strip() == "maekit: $ADE is not set; give --data.root FOLDER, or export ADE=FOLDER (Table 5: MAE, B)"
    assert asked() == []
    monkeypatch.setenv("ADE", "/my ade")
    assert run("--table 5 --column B --run", capsys)[0] == 0
    assert asked()[0][5:7] == ["--data.root", "/my ade"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_in_order_and_the_rest(elsewhere: Path, number: signal.Signals) -> None:
    """The run is told once (twice would stop it at once), is waited for, and no other is begun."""
    program = (
        "import sys; from maekit.paper import children; from maekit.cli import main; "
        "children.PROGRAM = (sys.executable, 'fake.py'); sys.exit(main(sys.argv[1:]))"
    )
    words = ["reproduce", "--table", "5", "--run", "--data.root", "/ade"]
    environment = {**os.environ, "WAIT": "1", "PYTHONPATH": os.environ["TOP"]}
    job = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not Path("ready.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(job.pid, number)  # as a terminal does: to the whole foreground group
    _, err = job.communicate(timeout=30)
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    line = f"maekit: stopped by {name} in run 1 of 2: its line above says how it goes on, and the same command runs the"
    assert err.splitlines()[-1] == f"{line} others"
    assert job.returncode == 128 + number
    assert Path("told.txt").read_text() == f"{int(number)} "
    assert Path("ended.txt").exists()
    assert len(asked()) == 1
    assert json.loads(Path("asked.txt").read_text())[1] == str(job.pid)


def stopped(folder: str, **given: Any) -> Path:
    """A run that was stopped an hour ago."""
    path = segmented(folder, 40.0, status="interrupted", **given)
    (path / "last.ckpt").write_bytes(b"")
    for file in path.iterdir():
        os.utime(file, (time.time() - 3600,) * 2)
    return path


def test_a_run_that_was_stopped_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    path = stopped("runs/ade20k_upernet/base/0")
    (entry,) = found("--table 5 --column B", capsys)["missing"]
    assert entry["words"] == ["maekit", "fit", "--ckpt_path", str(path)]
    assert entry["goes_on"] == str(path)
    assert not entry["may_be_running"]


@pytest.mark.parametrize("given", [{"seed": 3}, {"changed": {"optim.layer_decay": 0.9}}, {"study": True}])
def test_another_run_that_was_stopped_does_not(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given = dict(given)
    study = given.pop("study", False)
    stopped("runs/ade20k_upernet/base/0", **given)
    if study:
        Path("study.json").write_text("{}")  # its runs are its own to go on with
    (entry,) = found("--table 5 --column B", capsys)["missing"]
    assert entry["goes_on"] is None


def test_a_run_that_may_still_be_on_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    path = stopped("runs/ade20k_upernet/base/0")
    (path / "train.csv").write_text("step\n1\n")
    status, out, err = run("--table 5 --column B --run --data.root /ade", capsys)
    assert status == 0
    assert asked() == []
    assert "maekit: left alone: " in err
    assert "it may still be on" in out


HELP = "; see `maekit reproduce --help`"
WRONG = {
    "": "no table given; add --table NAME, one of: 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, dinov2, dinov3, fig9, probes, all",
    "--table fig8": "no table 'fig8'; did you mean 'fig9'? "
    "(known: 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, dinov2, dinov3, fig9, probes, and all of them: all)",
    "--table 5 --column C": "no cell has --column 'C' (known: B; L)",
    "--table 6 --row 'iNaturalist 2020'": "no cell has --row 'iNaturalist 2020'; did you mean 'iNaturalist 2019'? "
    "(known: iNaturalist 2017; iNaturalist 2018; iNaturalist 2019; Places205; Places365)",
    "--table 5 --seeds 0": "--seeds: got 0, expected 1 or more",
    "--table 5 --run.seed 3": "got --run.seed, expected none: say how many seeds by --seeds; folders are numbered",
    "--table 5 --sedes 3": "unknown flag '--sedes'; did you mean '--seeds'? "
    "(a run's own begin with --model., --data. and so on)",
    "--table 5 B": f"got 'B', expected a flag{HELP}",
    "--table 5 --which last": "argument --which: invalid choice: 'last' (choose from 'final', 'best')" + HELP,
    "--table 5 --runs rnus": "no folder rnus, and no run of that name in runs; did you mean 'runs'?",
    "--table 5 --run --data.root /a --model.weights w.pth": "got --model.weights for 2 missing runs, expected one: "
    "add --row and --column",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_get_one_line(words: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "runs").mkdir()
    status, out, err = run(words, capsys)
    assert (status, out, err) == (2, "", f"maekit: {WRONG[words]}\n")


def test_an_empty_folder_that_was_named_is_an_error(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "runs").mkdir()
    assert run("--table 5", capsys)[0] == 0
    status, _, err = run("--table 5 --runs runs", capsys)
    assert status == 2
    assert err.startswith("maekit: no run in runs: ")


def test_help_names_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("--help", capsys)
    assert status == 0
    assert "1, 2, 3, 4, 5, 6, 7, 11, 12, 13, dinov2, dinov3, fig9, probes, or all" in " ".join(out.split())


def test_it_needs_no_torch() -> None:
    program = (
        "import sys; from maekit.cli import main; main(['reproduce', '--table', 'all', '--json']); "
        "print(sorted({'torch', 'numpy', 'lightning', 'jsonargparse', 'optuna'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
