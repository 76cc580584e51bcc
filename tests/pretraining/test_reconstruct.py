"""What a masked autoencoder makes of images: un-normalised, pasted, measured, drawn."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maekit.base.predict_options import PredictOptions
from maekit.base.spec import DataSpec
from maekit.errors import UserError
from maekit.pretraining.from_weights import load_pretrainer
from maekit.pretraining.guess_target import normalises, try_targets
from maekit.pretraining.masking import Masking, fixed_noise
from maekit.pretraining.model import Pretrainer
from maekit.pretraining.pictures import HEADS, contact_sheet, picture_of
from maekit.pretraining.predictions import ReconstructionPredictor, ReconstructionWriter
from maekit.pretraining.reconstruction import Reconstruction
from maekit.pretraining.target import Components, NormalisedPixels
from tests.numeric import assert_fp32
from tests.weights.helpers import decoder, encoder, released

pytestmark = pytest.mark.numeric

MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 0.125)
INPUT = {"image_size": 32, "crop_fraction": 1.0, "mean": MEAN, "std": STD}
MODEL: dict[str, Any] = {
    "backbone": "vit_test_patch8", "decoder_width": 64, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.75,
    "masking": "random",
}  # fmt: skip


class Predictor(Pretrainer):
    """A model whose decoder says what the test tells it to: `answer`, patches [B, N, P]."""

    answer: Tensor

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
        return self.answer, self.draw_masking(images, noise)


def spec(mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> DataSpec:
    return DataSpec((), (32, 32), mean=mean, std=std, target="none")


def patches_by_hand(image: np.ndarray) -> np.ndarray:
    """Patches [16, 192] of one image [3, 32, 32]: patch by patch, row by row, column by column, channel by channel."""
    table = np.empty((16, 192), dtype=image.dtype)
    for patch in range(16):
        for row in range(8):
            for column in range(8):
                for channel in range(3):
                    value = image[channel, patch // 4 * 8 + row, patch % 4 * 8 + column]
                    table[patch, (row * 8 + column) * 3 + channel] = value
    return table


def noise_of(count: int) -> Tensor:
    return fixed_noise("random", range(count), (4, 4), 0.75)


def pictures(count: int = 2) -> Tensor:
    """Normalised images whose pixels are in 0..1."""
    torch.manual_seed(7)
    rgb = torch.rand(count, 3, 32, 32)
    return (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def outcome(model: Pretrainer, count: int = 2) -> Reconstruction:
    return model.reconstruct(pictures(count), noise_of(count))


@pytest.mark.parametrize("target", ["pixels", "normalised_pixels"])
def test_predictions_are_turned_back_into_pixels(target: str) -> None:
    torch.manual_seed(0)
    model = Pretrainer.build(spec(), {**MODEL, "target": target}).eval()
    torch.nn.init.normal_(model.head.decoder_pred.weight, std=0.1)
    result = outcome(model)
    with torch.no_grad():
        values = model(pictures(), noise_of(2))[0].double().numpy()
    mean, std = (np.tile(np.array(three), 64) for three in (MEAN, STD))
    for index, image in enumerate(pictures().double().numpy()):
        true = patches_by_hand(image)
        wanted, hidden = np.empty((16, 192)), result.masked_patches[index].numpy()
        for patch in range(16):
            predicted = values[index, patch]
            if target == "normalised_pixels":
                centre = sum(true[patch]) / 192
                predicted = predicted * math.sqrt(sum((true[patch] - centre) ** 2) / 191 + 1e-6) + centre
            wanted[patch] = np.clip(predicted * std + mean, 0, 1)
        original = true * std + mean
        found = {name: patches_by_hand(getattr(result, name)[index].numpy()) for name in Reconstruction._fields[:4]}
        assert_fp32(torch.from_numpy(found["prediction"]), torch.from_numpy(wanted))
        assert_fp32(torch.from_numpy(found["original"]), torch.from_numpy(original))
        np.testing.assert_allclose(found["masked"][hidden], 0.5)
        assert_fp32(torch.from_numpy(found["masked"][~hidden]), torch.from_numpy(original[~hidden]))
        assert_fp32(torch.from_numpy(found["pasted"][hidden]), torch.from_numpy(wanted[hidden]))
        assert_fp32(torch.from_numpy(found["pasted"][~hidden]), torch.from_numpy(original[~hidden]))
        error = ((wanted - original)[hidden] ** 2).mean()
        assert float(result.psnr[index]) == pytest.approx(-10 * math.log10(error), abs=1e-3)
        assert hidden.sum() == 12


def test_a_perfect_prediction_pastes_the_original() -> None:
    for target in ("pixels", "normalised_pixels"):
        model = Predictor.build(spec(), {**MODEL, "target": target})
        true = np.stack([patches_by_hand(image) for image in pictures().double().numpy()])
        if target == "normalised_pixels":
            true = (true - true.mean(-1, keepdims=True)) / np.sqrt(true.var(-1, ddof=1, keepdims=True) + 1e-6)
        model.answer = torch.from_numpy(true).float()
        result = outcome(model)
        assert_fp32(result.pasted, result.original)
        assert_fp32(result.prediction, result.original)
        assert float(result.psnr.min()) > 90
        assert not torch.equal(result.masked, result.original)


def test_pixels_of_a_patch_stand_row_by_row_channels_fastest() -> None:
    """In a picture each of whose values is there once, any other order would move some."""
    model = Predictor.build(spec((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), {**MODEL, "target": "pixels"})
    picture = torch.arange(3 * 32 * 32, dtype=torch.float32).view(1, 3, 32, 32) / 4096
    model.answer = torch.from_numpy(patches_by_hand(picture[0].numpy()))[None]
    torch.testing.assert_close(model.reconstruct(picture, noise_of(1)).prediction, picture, atol=0, rtol=0)


def test_an_unknown_target_is_found_though_the_psnr_says_otherwise() -> None:
    """Each patch's true mean and deviation make what is read as normalised look near, whatever it is."""
    model = Predictor.build(spec(), {**MODEL, "target": "pixels"})
    torch.manual_seed(3)
    smooth = 0.05 * torch.randn(4, 3, 32, 32)
    images = smooth + 1.5 * torch.randn(4, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3).mean(1, True)
    true = torch.from_numpy(np.stack([patches_by_hand(image) for image in images.numpy()]))
    model.answer = 0.8 * true + 0.3 * torch.randn(4, 16, 1)
    before = model.head.target
    trial = try_targets(model, images, noise_of(4))
    assert trial.psnr_normalised > trial.psnr_plain + 2  # what a choice by PSNR would follow
    assert trial.psnr_plain == pytest.approx(float(model.reconstruct(images, noise_of(4)).psnr.mean()), abs=1e-3)
    assert not trial.norm_pix_loss and trial.sure and trial.plain > 0.8 > 0 > trial.normalised
    assert model.head.target is before
    normalised = NormalisedPixels(192)(true)
    model.answer = 0.6 * normalised + 0.4 * torch.randn(true.shape)
    trial = try_targets(model, images, noise_of(4))
    assert trial.norm_pix_loss and trial.sure and trial.normalised == pytest.approx(1 - 0.16 - 0.16, abs=0.02)
    model.answer = torch.zeros_like(true)
    trial = try_targets(model, images, noise_of(4))
    assert not trial.sure and trial.normalised == trial.plain == 0


def test_a_sheet_has_a_row_for_each_image_and_a_column_for_each_stage() -> None:
    size = (3, 3, 16, 16)
    one, two, three, four = (torch.full(size, value) for value in (1.0, 0.5, 0.25, 0.75))
    r = Reconstruction(one, two, three, four, torch.tensor([9.0, 10.0, 11.0]), torch.zeros(3, 4, dtype=torch.bool))
    r.original[1] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    sheet = contact_sheet(r, ["one", "", "three"])
    assert sheet.width == 4 * (224 + 12) + 12  # 16 pixels, each 14 times as large
    middles = [12 + column * 236 + 112 for column in range(4)]
    assert len(middles) == len(HEADS)
    line = (sheet.height - 12 - 6 - 3 * (224 + 12)) // 3  # the heads, and the headings of two rows
    tops = [18 + 2 * line, 18 + 2 * line + 236, 18 + 3 * line + 472]
    for row, top in enumerate(tops):
        colours = [sheet.getpixel((middle, top + 112)) for middle in middles]
        first = (255, 0, 0) if row == 1 else (255, 255, 255)
        assert colours == [first, (128, 128, 128), (64, 64, 64), (191, 191, 191)]
        for corner in ((middles[1] - 112, top), (middles[1] + 111, top + 223)):
            assert sheet.getpixel(corner) == (128, 128, 128)
        for outside in ((middles[1] - 113, top), (middles[1] + 112, top + 223)):
            assert sheet.getpixel(outside) == (255, 255, 255)
    assert contact_sheet(r).height == sheet.height + line  # with a PSNR in each row
    with pytest.raises(ValueError, match="zip"):
        contact_sheet(r, ["one"])


@pytest.mark.parametrize(
    ("size", "shown"), [((16, 16), (448, 448)), ((300, 150), (300, 150)), ((900, 600), (448, 299))]
)
def test_a_picture_alone_is_enlarged_or_shrunk(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    r = Reconstruction(image, image, image, image, torch.zeros(2), torch.zeros(2, 4, dtype=torch.bool))
    picture = picture_of(r, 1)
    assert picture.width == 4 * (max(shown[1], 144) + 12) + 12
    assert picture_of(r, 1, "a name").height > picture.height > shown[0]
    if size == (16, 16):
        top = picture.height - 448 - 12
        small = picture.crop((12, top, 460, top + 448)).resize((16, 16), Image.Resampling.NEAREST)
        expected = (image[1] * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.asarray(small), expected)


def photographs(folder: Path, count: int = 5) -> list[Path]:
    """Noise of several sizes; the third lies in a folder of its own."""
    generator = np.random.default_rng(0)
    files = [folder / ("sub" if index == 2 else "") / f"{index}.png" for index in range(count)]
    for index, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40 + index, 50, 3), dtype=np.uint8)).save(file)
    return files


def written(folder: Path, files: list[Path], batch: int, seed: int = 0) -> list[list[str]]:
    torch.manual_seed(0)
    model = Pretrainer.build(spec(), {**MODEL, "target": "normalised_pixels"}).eval()
    predictor, writer = (
        ReconstructionPredictor(model, INPUT, seed=seed),
        ReconstructionWriter(folder, 0.75, PredictOptions(), name="reconstructions"),
    )
    for start in range(0, len(files), batch):
        names = files[start : start + batch]
        samples = [predictor.prepare(Image.open(file)) for file in names]
        for file, sample, found in zip(names, samples, predictor.predict(samples, torch.device("cpu")), strict=True):
            writer.write(file, sample.picture, found)
    assert writer.close() == folder
    return [line.split(",") for line in (folder / "reconstructions.csv").read_text().splitlines()]


def test_an_image_keeps_its_mask_in_any_company(tmp_path: Path) -> None:
    files = photographs(tmp_path / "images")
    together = written(tmp_path / "a", files, 5)
    assert together[0] == ["file", "psnr", "mask_ratio", "masked_patches"]
    rows = {row[0]: row[1:] for row in together[1:]}
    assert list(rows) == [str(file) for file in files]
    assert len({row[2] for row in rows.values()}) == 5  # masks differ
    assert all(len(row[2].split()) == 12 and row[1] == "0.75" for row in rows.values())
    for folder, chosen, batch in (("b", files, 2), ("c", files[3:], 1)):
        for file, psnr, _, hidden in written(tmp_path / folder, chosen, batch)[1:]:
            assert hidden == rows[file][2]
            assert float(psnr) == pytest.approx(float(rows[file][0]), abs=1e-3)
    other = written(tmp_path / "d", files, 5, seed=1)[1:]
    assert all(row[3] != rows[row[0]][2] for row in other)
    copy = tmp_path / "renamed.png"
    copy.write_bytes(files[1].read_bytes())
    assert written(tmp_path / "e", [copy], 1)[1][3] == rows[str(files[1])][2]


def test_pictures_lie_as_the_images_do(tmp_path: Path) -> None:
    files = photographs(tmp_path / "images", 3)
    written(tmp_path / "out", files, 2)
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    names = {"0_reconstruction.png", "1_reconstruction.png", "sub/2_reconstruction.png"}
    assert found == names | {"contact_sheet.png", "reconstructions.csv", "reconstructions.json"}
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.height > 3 * 224


def test_a_contact_sheet_holds_no_more_than_16_rows(tmp_path: Path) -> None:
    files = photographs(tmp_path / "images", 17)
    rows = written(tmp_path / "out", files, 17)
    assert len(rows) == 18
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert 16 * (224 + 8) < sheet.height < 17 * (224 + 8 + 40)


def test_weights_with_a_decoder_become_a_model(tmp_path: Path) -> None:
    path = released(tmp_path / "a.pth", {**encoder(), **decoder()})
    model = load_pretrainer(path, mask_ratio=0.5)
    assert (model.spec.image_size, model.spec.mean) == ((32, 32), (0.485, 0.456, 0.406))
    assert len(model.head.decoder_blocks) == 2 and model.head.decoder_blocks[0].get_submodule("attn").num_heads == 2
    held = {name.removeprefix("backbone.").removeprefix("head."): t for name, t in model.state_dict().items()}
    for name, tensor in {**encoder(), **decoder()}.items():
        torch.testing.assert_close(held[name], tensor, atol=0, rtol=0)
    assert not model.training and normalises(model) is True
    assert normalises(load_pretrainer(path, mask_ratio=0.5, norm_pix_loss=False)) is False
    larger = load_pretrainer(path, mask_ratio=0.5, image_size=64)
    assert larger.head.decoder_pos_embed.shape == (1, 65, 64) and larger.spec.image_size == (64, 64)


def test_components_of_a_run_are_read_as_such(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Pretrainer.build(
        spec(), {**MODEL, "target": "pca", "num_components": 6, "encoder_mask_tokens": True}
    ).eval()
    assert isinstance(model.head.target, Components)
    model.head.target.basis.normal_()
    input = {"image_size": 32, "crop_fraction": 1.0, "mean": list(MEAN), "std": list(STD)}
    config = {"model": {"decoder_heads": 2, "target": "pca", "num_components": 6, "encoder_mask_tokens": True}}
    card = {"config": config, "image_size": [32, 32], "class_names": ["image"], "input": input}
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {f"model.{n}": t for n, t in model.state_dict().items()}, "maekit": card}, path)
    again = load_pretrainer(tmp_path, mask_ratio=0.75)
    assert normalises(again) is None and again.spec.mean == MEAN
    for found, expected in zip(outcome(again), outcome(model), strict=True):
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    with pytest.raises(UserError, match="predicts 6 principal components; leave norm_pix_loss out"):
        load_pretrainer(path, mask_ratio=0.75, norm_pix_loss=True)


def test_what_a_file_says_of_its_target_is_believed(tmp_path: Path) -> None:
    for recorded in (True, False):
        path = tmp_path / f"{recorded}.pth"
        torch.save({"model": {**encoder(), **decoder()}, "args": {"norm_pix_loss": recorded}}, path)
        assert normalises(load_pretrainer(path, mask_ratio=0.75)) is recorded
