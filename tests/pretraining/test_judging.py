"""Whether a pre-training that went on was worth it, decided by the same labelled images before and after."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest  # type: ignore[import-untyped]

from maekit.errors import UserError
from maekit.pretraining.going_on import start_of
from maekit.pretraining.judging import right_by_neighbours, verdict
from maekit.pretraining.unlabelled import AnyImages


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (30, 10), (10, 30), (12, 12)])
def test_the_chance_is_the_exact_binomial_one(gained: int, lost: int) -> None:
    before = [False] * gained + [True] * lost + [True] * 50 + [False] * 50
    after = [True] * gained + [False] * lost + [True] * 50 + [False] * 50
    found = verdict(before, after, 1.0)
    expected = binomtest(gained, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
    assert found.chance == pytest.approx(expected, rel=1e-12)
    assert found.gain == pytest.approx(100 * (np.mean(after) - np.mean(before)))
    assert (found.gained, found.lost, found.images) == (gained, lost, len(before))


@pytest.mark.parametrize(
    ("gained", "lost", "min_gain", "expected"),
    [(20, 2, 1.0, True), (20, 2, 50.0, False), (3, 0, 1.0, False), (12, 6, 0.0, False), (0, 0, 0.0, False)],
)
def test_a_small_gain_or_one_that_may_be_chance_is_not_worth_it(
    gained: int, lost: int, min_gain: float, expected: bool
) -> None:
    before, after = [False] * gained + [True] * lost + [True] * 80, [True] * gained + [False] * lost + [True] * 80
    found = verdict(before, after, min_gain)
    assert found.is_worth_it is expected
    assert found.line().startswith(f"worth it: {'yes' if expected else 'no'}. k-NN top-1 ")


def colours(root: Path, *, each: int = 6) -> AnyImages:
    """Two classes that any features tell apart: dark and bright."""
    rng = np.random.default_rng(0)
    for split, count in (("train", each), ("val", 2)):
        for name, level in (("dark", 20), ("bright", 200)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(level, level + 40, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return AnyImages(
        root=str(root), probe_root=str(root), total_batch_size=2, val_fraction=0.5, image_size=32, num_workers=0,
        crop_scale=[1, 1], crop_ratio=[1, 1], horizontal_flip=0, rand_augment=None, random_erasing=0,
        eval_crop_fraction=1, mean=[0.5] * 3, std=[0.25] * 3,
    )  # fmt: skip


def test_each_labelled_image_is_classified_by_all_others(tmp_path: Path) -> None:
    data, start = colours(tmp_path / "images"), start_of("mae_vit_smoke")
    before = torch.get_rng_state()
    right = right_by_neighbours(start.path, data, images=100, neighbours=3, device=torch.device("cpu"))
    assert right == [True] * 12
    # two of a class are outvoted by the other class's six: an image never votes for itself
    fewer = right_by_neighbours(start.path, data, images=3, neighbours=2, device=torch.device("cpu"))
    assert fewer.count(False) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_single_labelled_images_judge_nothing(tmp_path: Path) -> None:
    data = colours(tmp_path / "images", each=1)
    with pytest.raises(UserError, match="one labelled image a class, expected two or more"):
        right_by_neighbours(start_of("mae_vit_smoke").path, data, images=9, neighbours=3, device=torch.device("cpu"))


def test_the_weights_decide_backbone_size_and_decoder() -> None:
    start = start_of("mae_vit_smoke")
    assert start.has_decoder
    wanted = {
        "model.backbone": "vit_smoke_patch8", "data.image_size": 64, "model.decoder_width": 64,
        "model.decoder_depth": 4, "model.decoder_heads": 2, "model.target": "pixels",
    }  # fmt: skip
    assert {name: start.settings[name] for name in wanted} == wanted


def test_weights_without_a_decoder_say_so(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(start_of("mae_vit_smoke").path)
    encoder = {name: t for name, t in whole.items() if not name.startswith(("decoder", "mask_token", "head"))}
    save_file(encoder, tmp_path / "encoder.safetensors")
    start = start_of(str(tmp_path / "encoder.safetensors"))
    assert not start.has_decoder
    assert not [name for name in start.settings if name.startswith("model.decoder")]
    assert "without a decoder" in start.describe()
    save_file({n: t for n, t in encoder.items() if n != "cls_token"}, tmp_path / "patches.safetensors")
    with pytest.raises(UserError, match="no class token"):
        start_of(str(tmp_path / "patches.safetensors"))
