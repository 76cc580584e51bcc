"""Small weights, folders of images and command lines for the tests of features."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.cli import main
from tests.conftest import few_digits
from tests.weights.helpers import encoder, released


def weights(folder: Path) -> Path:
    """A file as facebookresearch/mae releases them: 48 wide, 3 blocks, 2 heads, patches of 8 px, images of 32 px."""
    path = folder / "w.pth"
    return path if path.exists() else released(path, encoder())


def pictures(folder: Path, count: int = 11) -> Path:
    """A folder with images of several shapes, all different, the last two of more than two a level down."""
    for number in range(count):
        draws = np.random.RandomState(number)
        pixels = draws.randint(0, 256, (5, 4 + number % 3, 3)).astype(np.uint8)
        image = Image.fromarray(pixels).resize((50 + 7 * number, 44), Image.Resampling.BICUBIC)
        path = folder / ("deep/er" if number >= max(count - 2, 2) else "") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


def digits(folder: Path, split: str, classes: int = 10) -> Path:
    """Class folders of a few digits."""
    for source in sorted((few_digits() / split).iterdir())[:classes]:
        shutil.copytree(source, folder / split / source.name)
    return folder / split


def own_scenes(folder: Path) -> Path:
    """Eight images of 32 x 48 with label maps of two classes, in two splits; a class is a brightness."""
    for number in range(8):
        split = "train" if number < 6 else "val"
        label = np.zeros((32, 48), dtype=np.uint8)
        label[:, 8 * (number % 4) : 8 * (number % 4) + 24] = 1
        noise = np.random.RandomState(number).randint(0, 60, (32, 48, 3))
        for kind, pixels in (("images", noise + 150 * label[..., None]), ("masks", label)):
            path = folder / kind / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "classes.txt").write_text("dark\nlight\n")
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Runs a command that must succeed, and returns what it printed."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Runs a command that must fail as a user's error, and returns its one line."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]
