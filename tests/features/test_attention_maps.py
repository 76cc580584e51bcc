"""Attention maps and patch colours, against timm and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA

from maekit.backbone.attention_view import view_block
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.features.attention_maps import SPREAD, PatchColours
from maekit.features.attention_pictures import heat, overlay, whole_view
from maekit.system.size import HeightWidth
from tests.features.helpers import pictures, refused, run, weights
from tests.numeric import SEEDS, assert_fp32, fp32_errors, moved
from tests.weights.helpers import images, peer

pytestmark = pytest.mark.numeric


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("block", [0, 2])
def test_attention_is_that_of_timm_on_images_that_are_not_square(block: int) -> None:
    other = peer((32, 48), pooling="class", classes=0)
    vit = ViT(load_size("vit_test_patch8"), image_size=(32, 48)).eval()
    vit.load_state_dict(other.state_dict())
    for module in other.blocks:
        module.attn.fused_attn = False
    seen: list[torch.Tensor] = []
    other.blocks[block].attn.attn_drop.register_forward_hook(lambda *parts: seen.append(parts[2]))
    after: list[torch.Tensor] = []
    other.blocks[block].register_forward_hook(lambda *parts: after.append(parts[2]))
    pictures = images(32, 48).double()
    with torch.inference_mode():
        other(pictures)
        expected = {
            "attention": seen[0][:, :, 0, 1:].reshape(2, 2, 4, 6),
            "own": seen[0][:, :, 0, 0],
            "patches": other.norm(after[0])[:, 1:],
        }
        found = view_block(vit, pictures, block)._asdict()  # the backbone in float64, its attention written out in fp32
        others = [view_block(vit, moved(pictures, seed), block)._asdict() for seed in SEEDS]
    errors = fp32_errors(found, others)
    for name, value in expected.items():
        assert_fp32(found[name], value, errors[name], name)


def test_colours_are_the_principal_components() -> None:
    draws = np.random.RandomState(0)
    parts = [draws.normal(size=(count, 7)) * np.arange(1, 8) + 3 for count in (50, 30)]
    colours = PatchColours()
    for part in parts:
        colours.add(torch.from_numpy(part).float())
    found = np.concatenate([colours.colours(torch.from_numpy(part).float()).numpy() for part in parts])
    whole = np.concatenate(parts)
    model = PCA(3, svd_solver="full").fit(whole)
    scores = model.transform(whole) * np.sign(model.components_[range(3), np.abs(model.components_).argmax(axis=1)])
    expected = (scores / (SPREAD * scores.std(axis=0)) + 1) / 2
    assert_fp32(torch.from_numpy(found), torch.from_numpy(expected.clip(0, 1)))


def test_patches_that_are_all_alike_are_grey() -> None:
    colours = PatchColours()
    colours.add(torch.full((6, 5), 0.3))
    torch.testing.assert_close(colours.colours(torch.full((6, 5), 0.3)), torch.full((6, 3), 0.5), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((640, 427), 224, (336, 224)),  # 335.7 rounded to whole patches of 16
        ((100, 200), 48, (48, 96)),
        ((1000, 10), 32, (128, 32)),  # four times as long as wide, and no longer
        ((10, 10), 3, (16, 16)),
        ((640, 427), HeightWidth(96, 160), (160, 96)),
    ],
)
def test_the_whole_image_is_shown(shape: tuple[int, int], size: int | HeightWidth, expected: tuple[int, int]) -> None:
    assert whole_view(Image.new("RGB", shape), size, 16).size == expected


def test_the_centre_is_cut_out_and_nothing_is_stretched() -> None:
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 255, 0), (20, 0, 40, 20))
    assert (np.asarray(whole_view(wide, HeightWidth(32, 32), 16))[:, 3:-3] == (0, 255, 0)).all()
    half = np.asarray(whole_view(wide, HeightWidth(32, 64), 16)).astype(int)  # a band of 32 of 64 pixels is green
    assert (half[:, 20:44] == (0, 255, 0)).all()
    assert (half[:, :12] == (255, 0, 0)).all()


def test_heat_grows_brighter_and_nothing_leaves_the_image_grey() -> None:
    light = np.asarray(heat(torch.linspace(0, 1, 50)[None]).convert("L")).astype(int)[0]
    assert (np.diff(light) >= 0).all()
    assert light[0] < 5
    assert light[-1] > 230
    image = Image.new("RGB", (40, 20), (200, 100, 50))
    values = torch.zeros(2, 4)
    values[0, 0] = 1
    found = np.asarray(overlay(image, values)).astype(int)
    assert np.ptp(found[:, 30:], axis=2).max() == 0
    assert found[2, 2].sum() > found[18, 38].sum() + 200


def test_a_picture_of_a_photograph_shows_it_and_its_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = Image.fromarray(load_sample_images().images[0])
    (tmp_path / "in").mkdir()
    photo.save(tmp_path / "in/china.png")
    words = ["attention", tmp_path / "in", "--weights", weights(tmp_path), "--output", tmp_path / "out"]
    assert "1 pictures -> " in run(capsys, *words, "--image_size", 64)
    picture = Image.open(tmp_path / "out/china.png")
    assert picture.width == 3 * 396 + 12
    shown = np.asarray(picture.crop((12, 33, 12 + 384, 33 + 256))).astype(int)
    expected = whole_view(photo, 64, 8).resize((384, 256), Image.Resampling.BICUBIC)
    assert np.array_equal(shown, np.asarray(expected).astype(int))
    colours = np.asarray(picture.crop((804, 33, 804 + 384, 33 + 256))).astype(int)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 60  # of 96 patches
    assert (colours[:32, :32] == colours[0, 0]).all()  # one patch, one colour


def test_joint_colours_are_those_of_all_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, colour in (("a", (250, 20, 20)), ("b", (250, 20, 20)), ("c", (20, 20, 250))):
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")
    (folder / "broken.png").write_bytes(b"x")
    words = ["attention", folder, "--weights", weights(tmp_path), "--joint", "--output", tmp_path / "out"]
    assert "3 pictures -> " in run(capsys, *words)
    a, b, c = (
        np.asarray(Image.open(tmp_path / f"out/{name}.png").crop((804, 33, 1188, 417))).astype(int) for name in "abc"
    )
    assert np.array_equal(a, b)
    assert np.abs(a - c).mean() > 20


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["in", "--block", "3"], "--block: got 3, expected 0 to 2"),
        (["in", "--image_size", "4o"], "--image_size: got '4o'"),
        (["in", "--image_size", "0"], "--image_size: got '0'"),
        (["in", "--image_size", "30x32"], "multiples of the patch size 8"),
        (["nowhere"], "no image or folder nowhere"),
        (["in", "--output", "in/out"], "lies in the images' folder"),
        (["in", "--weights", "gone.pth"], "no file and no official weights called gone.pth"),
        (["in/bad.png"], "left out: in/bad.png: is not an image"),
    ],
)
def test_what_attention_refuses(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (pictures(tmp_path / "in", 1) / "bad.png").write_bytes(b"x")
    default = [] if "--weights" in words else ["--weights", weights(tmp_path)]
    assert expected in refused(capsys, "attention", *default, *words)
