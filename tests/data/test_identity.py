"""What a run records of its data, and `maekit data check` with the data flags of `maekit fit`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maekit.base.identity import fingerprint
from maekit.classification.data.folders import ClassFolders
from maekit.cli import main
from maekit.recipes.recipe import load_recipe
from maekit.recipes.tasks import find_task
from tests.helpers_data import TASK_OF

RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for split, count in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def identity(root: Path) -> dict[str, Any]:
    numbers = load_recipe(find_task("imagenet_finetune"), None).values["data"]
    return ClassFolders(**{**numbers, "root": str(root)}).identity().plain()


def test_a_moved_folder_is_the_same_data(root: Path, tmp_path: Path) -> None:
    before = identity(root)
    assert before["folder"] == str(root)
    assert before["classes"] == ["cat", "dog"]
    assert {name: split["images"] for name, split in before["splits"].items()} == {"train": 6, "val": 4}
    moved = identity(Path(shutil.move(root, tmp_path / "elsewhere")))
    assert moved["splits"] == before["splits"]
    json.dumps(before)


@pytest.mark.parametrize("change", ["remove", "rename", "other label"])
def test_another_listing_is_other_data(root: Path, change: str) -> None:
    before = identity(root)["splits"]
    image = root / "train/cat/2.png"
    if change == "remove":
        image.unlink()
    else:
        image.rename(root / ("train/cat/3.png" if change == "rename" else "train/dog/3.png"))
    after = identity(root)["splits"]
    assert after["train"]["fingerprint"] != before["train"]["fingerprint"]
    assert after["val"] == before["val"]


def test_a_fingerprint_does_not_depend_on_byte_order_and_knows_where_a_part_ends() -> None:
    values = np.arange(5, dtype="<i4")
    assert fingerprint(values) == fingerprint(values.astype(">i4"))
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")


def test_check_takes_the_data_flags_of_fit(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "check", "--task", "imagenet_finetune"]
    assert main([*command, "--data.root", str(root), "--data.decoder", "pillow"]) == 0
    assert "training: 6 images of 2 classes" in capsys.readouterr().out
    assert main([*command, "--root", str(root), "--data.decoder", "magic"]) == 2
    assert "data.decoder: got 'magic'" in capsys.readouterr().err
    assert main([*command, "--root", str(root), "--data.decodr", "pillow"]) == 2
    assert "--data.decoder" in capsys.readouterr().err
    own = tmp_path / "own.yaml"
    own.write_text(f"data: {{root: {root}}}\n")
    assert main([*command, "--config", str(own)]) == 0
    for task in sorted(set(TASK_OF.values())):
        assert main(["data", "check", "--task", task]) == 1  # no folder was given
        assert "--data.root" in capsys.readouterr().out
