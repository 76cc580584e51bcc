"""A walk over the flags of every other command: a bad value is refused in one line, without a trace or "unexpected"."""

import argparse
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from maekit.cli import COMMANDS, Parser, main, module_of
from tests.conftest import few_digits
from tests.helpers_run import tiny

DEVICE = ("nonsense", "cuda:99")
COUNT = ("0", "-1", "x", "1.5")
# Command and flag -> values to refuse. Empty: any text may be right there.
BAD: dict[str, dict[str, tuple[str, ...]]] = {
    "adapt": {
        "--weights": ("nothere",), "--labels": ("nothere",), "--task": ("nonsense",), "--recipe": ("nonsense",),
        "--config": ("nothere.yaml",), "--decoder_epochs": COUNT, "--min_gain": ("-1", "x", "nan", "100"),
        "--ckpt_path": ("nothere",),
    },
    "attention": {
        "--weights": ("nothere",), "--block": ("99", "-99", "x"), "--image_size": ("0", "-8", "x", "64x"),
        "--output": (), "--device": DEVICE,
    },
    "cluster": {
        "--features": ("nothere",), "--clusters": (*COUNT, "99999"), "--seed": ("-1", "x"), "--output": (),
        "--images": ("nothere",),
    },
    "compare": {},
    "completion": {},
    "copy": {"--name": ("a-b",)},
    "data check": {
        "--task": ("nonsense",), "--root": (), "--config": ("nothere.yaml",), "--classes": ("x", "1.5"),
        "--recipe": ("nonsense",),
    },
    "data make": {"--task": ("nonsense",), "--root": ()},
    "data stats": {
        "--task": ("nonsense",), "--root": ("nothere",), "--config": ("nothere.yaml",), "--recipe": ("nonsense",),
        "--out": (), "--bands": ("0", "65", "a,a"), "--file_bands": ("a,a",),
    },
    "embed": {
        "--weights": ("nothere",), "--output": (), "--pooling": ("cls",), "--block": ("99", "-99", "x"),
        "--image_size": ("0", "-8", "x"), "--crop_fraction": ("0", "2", "-1", "x", "nan"), "--batch_size": COUNT,
        "--num_workers": ("-1", "x"), "--device": DEVICE, "--precision": ("fp64", "16"), "--format": ("csv",),
    },
    "export": {
        "--to": ("x", "onnxx"), "--opset": ("0", "17", "99", "x"), "--precision": ("fp64", "16"), "--samples": COUNT,
        "--images": ("nothere",), "--root": ("nothere",), "--limit": ("-1", "x", "nan"), "--check": ("nothere",),
        "--task": ("nothere.py",), "--batch_size": COUNT, "--output": ("model.txt",),
    },
    "fit": {
        "--task": ("nonsense",), "--recipe": ("nonsense",), "--config": ("nothere.yaml",), "--ckpt_path": ("nothere",),
        "--help": ("nonsense",),
    },
    "knn": {
        "--train": ("nothere",), "--val": ("nothere",), "--features": ("nothere",), "--device": DEVICE,
        "--neighbours": ("0", "-1", "x", "5,0", ""), "--temperature": ("0", "-1", "x", "nan"), "--vote": ("x",),
        "--batch_size": COUNT, "--task": ("nonsense", "ade20k_upernet"), "--labels": ("x",), "--bank_size": COUNT,
    },
    "lr-find": {
        "--task": ("nonsense",), "--recipe": ("nonsense",), "--config": ("nothere.yaml",), "--output": (),
        "--from": ("0", "-1", "x", "nan", "1000x"), "--to": ("0", "-1x", "x", "inf", "1e-9"), "--steps": COUNT,
        "--help": ("nonsense",),
    },
    "lr-table": {"--task": ("nonsense",), "--recipe": ("nonsense",), "--config": ("nothere.yaml",)},
    "pca": {"--output": (), "--foreground": ("x",), "--overview": COUNT, "--images": ("nothere",)},
    "plan": {
        "--task": ("nonsense",), "--recipe": ("nonsense",), "--config": ("nothere.yaml",),
        "--devices": ("nonsense", "0x24GiB", "4x", "x24GiB", "4x0GiB", "1xcpu,2xcpu"),
        "--share": ("0", "2", "-1", "x", "nan"),
    },
    "predict": {
        "--model": ("nothere",), "--images": ("nothere", "http://a.b/c.jpg", "*.nothere", "@nothere.txt"),
        "--output": (), "--task": ("nothere.py",), "--device": DEVICE, "--batch_size": COUNT,
        "--top": COUNT, "--score": ("-0.1", "1.1", "x", "nan"), "--tile": COUNT, "--overlap": ("-1", "x"),
        "--scale": ("0", "-1", "x", "nan", "inf"),
    },
    "reconstruct": {
        "--weights": ("nothere",), "--output": (), "--mask_ratio": ("0", "1", "-1", "x", "nan"), "--masking": ("x",),
        "--seed": ("x",), "--image_size": ("0", "-8", "x"), "--norm_pix_loss": ("x",), "--device": DEVICE,
        "--batch_size": COUNT,
    },
    "replay": {"--task": (), "--device": ()},  # it needs a step that failed: tests/commands/test_replay.py
    "report": {"--output": (), "--against": ("nothere",)},
    "reproduce": {
        "--table": ("x",), "--row": ("x",), "--column": ("x",), "--runs": (), "--which": ("x",), "--seeds": COUNT,
    },
    "runs list": {
        "--task": ("nonsense",), "--state": ("nonsense",), "--data": ("nonsense",), "--sort": ("nonsense",),
        "--since": ("yesterday", "2", "-1d", "nan"),
    },
    "runs prune": {"--keep-best": COUNT},
    "runs rm": {},
    "show": {"--recipe": ("nonsense",)},
    "similar": {
        "--features": ("nothere",), "--top": COUNT, "--patch": ("x", "1", "-1,2", "1,2,3"), "--output": (),
        "--images": ("nothere",), "--weights": ("nothere",),
        "--device": DEVICE,
    },
    "sweep": {
        "--task": ("nonsense",), "--recipe": ("nonsense",), "--config": ("nothere.yaml",), "--grid": ("x", "model.x=1"),
        "--range": ("x", "optim.layer_decay=1"), "--preset": ("x",), "--seeds": ("0", "-1", "x"), "--sampler": ("x",),
        "--folds": ("0", "1", "-1", "x", "2/5"),
        "--trials": ("0", "x"), "--pruner": ("x",), "--reduction": ("1", "0", "x"), "--output": (), "--name": (),
        "--storage": (), "--parallel": (), "--trial": ("-1", "x"),
    },
    "tasks": {},
    "validate": {
        "--task": ("nonsense",), "--recipe": ("nonsense",), "--config": ("nothere.yaml",), "--ckpt_path": ("nothere",),
        "--output": (), "--help": ("nonsense",),
    },
    "watch": {"--port": ("-1", "65536", "x")},
    "weights card": {"--output": ()},
    "weights convert": {"--to": ("x",), "--norm_pix_loss": ("x",)},
    "weights inspect": {},
}  # fmt: skip
CASES = [(command, flag) for command, flags in BAD.items() for flag, values in flags.items() if values]


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command, or its actions such as `weights convert`, with its parser."""
    for name in COMMANDS:
        command = import_module(module_of(name))
        parser = Parser(prog=name, add_help=not command.FORWARDS)
        command.add_arguments(parser)
        inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if inner:
            yield from ((f"{name} {word}", part) for word, part in inner[0].choices.items())
        else:
            yield name, parser


def valued(parser: argparse.ArgumentParser) -> set[str]:
    """The flags that take a value, by the name that they are listed under."""
    shown = [action for action in parser._actions if action.option_strings and action.nargs != 0]
    return {next((flag for flag in action.option_strings if "." not in flag), "") for action in shown}


def test_every_flag_of_every_command_is_walked() -> None:
    for name, parser in parsers():
        assert valued(parser) == set(BAD[name]), name
    assert len(CASES) >= 75


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few photos, their features and a trained run."""
    folder = tmp_path_factory.mktemp("commands")
    shutil.copytree(few_digits() / "val", folder / "photos")
    file = next(path for path in sorted((folder / "photos").rglob("*")) if path.is_file())
    shutil.copyfile(file, folder / "one.jpg")
    given = ["--weights=mae_vit_smoke", f"--output={folder / 'features'}", "--num_workers=0"]
    assert main(["embed", str(folder / "photos"), *given]) == 0
    given[1] = f"--output={folder / 'patches'}"
    assert main(["embed", str(folder / "photos"), *given, "--patches"]) == 0
    shutil.move(tiny(folder / "runs", trainer__max_steps=1).fit()["folder"], folder / "run")
    return folder


def words(command: str, place: Path, free: Path) -> list[str]:
    """A command line that is right; it is never run as it is."""
    photos, features, new = str(place / "photos"), f"--features={place / 'features'}", str(free / "new")
    task = ["--task=imagenet_finetune", "--recipe=smoke"]
    lines = {
        "adapt": [photos, "--weights=mae_vit_smoke", f"--run.folder={new}"],
        "attention": [photos, "--weights=mae_vit_smoke", f"--output={new}"],
        "cluster": [features, "--clusters=2", f"--output={new}"],
        "copy": ["imagenet_finetune", new],
        "data check": ["--task=imagenet_finetune", f"--root={few_digits()}"],
        "data make": ["--task=imagenet_finetune", f"--root={new}"],
        "data stats": [*task, f"--root={few_digits()}", f"--out={new}"],
        "embed": [photos, "--weights=mae_vit_smoke", f"--output={new}", "--num_workers=0"],
        "export": [str(place / "run"), f"--output={free / 'new.onnx'}", "--to=onnx"],
        "knn": [features],
        "pca": [str(place / "patches"), f"--output={new}"],
        "predict": [f"--ckpt_path={place / 'run'}", f"--images={photos}", f"--output={new}"],
        "reconstruct": [photos, "--weights=mae_vit_smoke", f"--output={new}"],
        "report": [str(place / "run"), f"--output={new}"],
        "reproduce": ["--table=3"],
        "show": ["imagenet_finetune"],
        "runs list": [str(place / "run")],
        "runs prune": [str(place / "run")],
        "similar": [str(place / "one.jpg"), features],
        "sweep": [*task, "--grid=optim.layer_decay=0.5,0.9", "--dry_run"],
        "watch": [str(place / "run")],
        "weights convert": ["mae_vit_smoke", new, "--to=mae"],
    }
    return [*command.split(), *lines.get(command, task)]


@pytest.mark.parametrize(("command", "flag"), CASES)
def test_a_bad_value_is_one_line(
    command: str,
    flag: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in BAD[command][flag]:
        line = [word for word in words(command, place, tmp_path) if not word.startswith(f"{flag}=")]
        if command == "knn" and flag in ("--train", "--val"):
            line = [command, f"--train={place / 'features'}", f"--val={place / 'features'}"]
            line = [word for word in line if not word.startswith(f"{flag}=")]
        extra = ["--trials=2", "--sampler=random", "--range=optim.layer_decay=0.5:0.9"] if flag == "--trials" else []
        capsys.readouterr()
        status = main([*line, *(word for word in extra if not word.startswith(flag)), f"{flag}={value}"])
        errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("maekit: ")]
        assert status == 2, (value, errors)
        assert len(errors) == 1 and "unexpected" not in errors[0], (value, errors)
