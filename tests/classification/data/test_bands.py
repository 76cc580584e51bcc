"""Images of any channels as the data of a run: the model's spec, the checkpoint's input transform, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from maekit import cli
from maekit.base.checkpoint_card import Card
from maekit.base.spec import Draw
from maekit.data.images.reading_of import reading_of
from maekit.data.images.transforms import EvalTransform
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve_data
from maekit.recipes.tasks import find_task

COUNT = 5
DRAW = np.random.default_rng(0)
Write = Callable[[Path, np.ndarray], None]


def as_array(path: Path, pixels: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), pixels)


def as_tiff(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), pixels, planarconfig="contig", photometric="minisblack")


def as_png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray((pixels[..., :3] >> 8).astype(np.uint8)).save(path.with_suffix(".png"))


def folders(root: Path, write: Write, images: int = 4) -> Path:
    for split in ("train", "val"):
        for name in ("x", "y"):
            (root / split / name).mkdir(parents=True)
            for number in range(images):
                write(root / split / name / str(number), DRAW.integers(0, 65536, (40, 36, COUNT)).astype(np.uint16))
    return root


def data_of(root: Path, *flags: str, task: str = "imagenet_finetune") -> Any:
    recipe = load_recipe(find_task(task), "smoke")
    module: Any = recipe.task.load()
    given = [f"--data.{flag}" for flag in flags]
    return module.Data(**resolve_data(recipe, module, [f"--data.root={root}", *given]))


@pytest.mark.parametrize("write", [as_array, as_tiff])
def test_a_run_knows_its_bands_and_a_checkpoint_rebuilds_how_they_are_read(write: Write, tmp_path: Path) -> None:
    root = folders(tmp_path, write)
    assert cli.main(["data", "stats", "--root", str(root), "--data.file_bands", "B,G,R,NIR,SWIR"]) == 0
    data = data_of(root, "bands=NIR,B,G,R", "file_bands=B,G,R,NIR,SWIR", "eval_crop_fraction=0.9")
    spec, input = data.spec(), data.input_transform()
    assert spec.bands == ("R", "G", "B", "NIR")
    assert input["unit"] == 65535
    assert spec.mean == pytest.approx(np.array(input["mean"]) / 65535)
    assert "NIR" in data.summary()
    image, _, _ = data.val_dataset()[Draw(0, 1)]
    path = next((root / "val" / "x").glob("1.*"))
    again = EvalTransform(**json.loads(json.dumps(input)))(reading_of(input)(path))
    assert torch.equal(again, image)
    train, _, _ = data.train_dataset(0)[Draw(0, 1)]
    assert train.shape == image.shape == (4, *spec.image_size)
    assert torch.equal(train, data.train_dataset(0)[Draw(0, 1)][0])


def test_other_bands_and_other_statistics_are_other_data(tmp_path: Path) -> None:
    root = folders(tmp_path, as_array)
    assert cli.main(["data", "stats", "--root", str(root)]) == 0
    prints = [data_of(root, f"bands={bands}").identity().splits["train"].fingerprint for bands in ("5", "B1,B2", "5")]
    assert prints[0] == prints[2] != prints[1]
    content = json.loads((root / "stats.json").read_text())
    content["mean"][0] += 1
    (root / "stats.json").write_text(json.dumps(content))
    assert data_of(root, "bands=5").identity().splits["train"].fingerprint != prints[0]


def test_a_checkpoint_is_not_evaluated_by_other_statistics(tmp_path: Path) -> None:
    root = folders(tmp_path, as_array)
    assert cli.main(["data", "stats", "--root", str(root)]) == 0
    data = data_of(root, "bands=5")
    assert data.resolved() == {"stats": str(root / "stats.json")}
    card = Card("imagenet_finetune", "smoke", {}, data.spec(), data.input_transform(), 0)
    card.require_classes(data_of(root, "bands=5").spec(), Path("best.ckpt"))
    content = json.loads((root / "stats.json").read_text())
    (root / "stats.json").write_text(json.dumps(content | {"std": [2.0] * 5}))
    with pytest.raises(UserError, match="other statistics"):
        card.require_classes(data_of(root, "bands=5").spec(), Path("best.ckpt"))


def test_red_green_and_blue_of_8_bits_are_the_same_data_in_any_order(tmp_path: Path) -> None:
    root = folders(tmp_path, as_png)
    plain, same = data_of(root), data_of(root, "bands=B,G,R")
    assert plain.input_transform() == same.input_transform()
    assert plain.identity().plain() == same.identity().plain()
    for one, other in ((plain, same), (plain, data_of(root, "bands=[R,G,B]"))):
        assert torch.equal(one.train_dataset(0)[Draw(0, 2)][0], other.train_dataset(0)[Draw(0, 2)][0])
        assert torch.equal(one.val_dataset()[Draw(0, 2)][0], other.val_dataset()[Draw(0, 2)][0])


def test_arrays_without_a_word_on_their_bands_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data\.bands"):
        data_of(folders(tmp_path, as_array)).setup()


@pytest.mark.parametrize(("flag", "fact"), [("white=4095", "data.white"), ("reduced_decode=train", "reduced_decode")])
def test_flags_of_8_bit_pictures_are_refused_beside_bands(flag: str, fact: str, tmp_path: Path) -> None:
    root = folders(tmp_path, as_array)
    assert cli.main(["data", "stats", "--root", str(root)]) == 0
    with pytest.raises(UserError, match=fact):
        data_of(root, "bands=5", flag).setup()


def test_check_reads_as_a_run_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folders(tmp_path, as_tiff)
    words = ["data", "check", "--task", "imagenet_finetune", "--root", str(root), "--data.bands", "5"]
    assert cli.main(words) == 1
    assert f"maekit data stats --root {root}" in capsys.readouterr().out
    assert cli.main(["data", "stats", "--root", str(root)]) == 0
    assert cli.main(words) == 0
    for name in ("val/x/1.tif", "val/y/0.tif"):
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2])
    assert cli.main(words) == 1
    output = capsys.readouterr().out
    assert "val/x/1.tif" in output
    assert "val/y/0.tif" in output
