"""Patch filters of a file are adapted to the model's bands: grey exactly, named ones by name, others as asked."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.weights.families.fit import Fit
from maekit.weights.load.bands import BIAS, FILTERS, Bands, NewBands, at_bands
from maekit.weights.read.bands import IMAGENET
from tests.numeric import assert_float64

pytestmark = pytest.mark.numeric
FILE = Path("file.pth")
SIZE = load_size("vit_smoke_patch8")


def vit(channels: int, seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    return ViT(SIZE, image_size=(32, 32), channels=channels).eval()


def adapted(source: ViT, bands: Bands, meta: dict[str, object] | None = None) -> tuple[ViT, list[str]]:
    model, found = vit(len(bands.names), seed=1), source.state_dict()
    fit, lines = at_bands(FILE, Fit(model.state_dict(), found, {name: name for name in found}), meta or {}, bands)
    model.load_state_dict(fit.found)
    return model, lines


def card(*names: str) -> dict[str, object]:
    return {"maekit": {"bands": list(names)}}


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


@pytest.mark.usefixtures("float64")
def test_grey_as_one_channel_equals_grey_repeated_to_three() -> None:
    """The recipe's mean and deviation differ by channel, and the grey ones are others."""
    source, grey = vit(3), torch.rand(2, 1, 32, 32)
    model, lines = adapted(source, Bands(("grey",), (0.31,), (0.17,)))
    expected = source(normalised(grey.expand(-1, 3, -1, -1), *IMAGENET)).tokens
    assert_float64(model(normalised(grey, (0.31,), (0.17,))).tokens, expected)
    assert lines == ["grey: the sum of the filters of R, G, B, at their mean and std"]


def test_grey_equals_grey_repeated_in_single_precision() -> None:
    source, grey = vit(3), torch.rand(2, 1, 32, 32)
    model, _ = adapted(source, Bands(("grey",), (0.31,), (0.17,)))
    repeated = source(normalised(grey.expand(-1, 3, -1, -1), *IMAGENET)).tokens
    assert (model(normalised(grey, (0.31,), (0.17,))).tokens - repeated).abs().max() < 1e-5


@pytest.mark.parametrize("new", ["mean", "repeat", "fresh"])
def test_red_green_and_blue_go_by_name(new: NewBands) -> None:
    names = ("R", "G", "B", *(f"B{number}" for number in range(10)))
    source = vit(3)
    model, lines = adapted(source, Bands(names, new=new))
    ours, theirs = model.state_dict()[FILTERS], source.state_dict()[FILTERS]
    if new == "repeat":
        assert torch.allclose(ours.sum(1), theirs.sum(1), atol=1e-6)
    else:
        assert torch.equal(ours[:, :3], theirs)
        rest = (
            theirs.mean(1, keepdim=True).expand(-1, 10, -1, -1) if new == "mean" else vit(13, 1).state_dict()[FILTERS]
        )
        assert torch.equal(ours[:, 3:], rest[:, -10:])
    assert lines[0].startswith("R, G, B: by name") and lines[1].startswith("B0, B1")


@pytest.mark.parametrize("names", [("R", "NIR"), ("a", "b"), ("a", "b", "c", "d"), ("G", "a", "b", "c", "d")])
def test_repeat_preserves_the_sum_over_channels(names: tuple[str, ...]) -> None:
    source = vit(3)
    model, _ = adapted(source, Bands(names, new="repeat"))
    assert torch.allclose(model.state_dict()[FILTERS].sum(1), source.state_dict()[FILTERS].sum(1), atol=1e-6)


@pytest.mark.parametrize(("new", "unused"), [("mean", 0), ("repeat", 0), ("fresh", 1)])
def test_filters_that_new_bands_are_made_of_are_not_called_unused(new: NewBands, unused: int) -> None:
    _, lines = adapted(vit(3), Bands(("R", "NIR", "SWIR"), new=new))
    assert sum(line == "G, B: in the file, not used" for line in lines) == unused


@pytest.mark.parametrize("names", [("c", "a", "b"), ("b",), ("a", "c")])
def test_a_file_of_named_bands_goes_by_name_bit_for_bit(names: tuple[str, ...]) -> None:
    source, own = vit(3), card("a", "b", "c")
    model, lines = adapted(source, Bands(names), own)
    places = ["abc".index(name) for name in names]
    assert torch.equal(model.state_dict()[FILTERS], source.state_dict()[FILTERS][:, places])
    assert torch.equal(model.state_dict()[BIAS], source.state_dict()[BIAS]) and lines


def test_the_same_bands_say_nothing_and_blue_green_red_says_so() -> None:
    source = vit(3)
    assert adapted(source, Bands())[1] == []
    mean, std = IMAGENET
    model, lines = adapted(source, Bands(), {"input": {"mean": list(mean[::-1]), "std": list(std[::-1])}})
    assert torch.equal(model.state_dict()[FILTERS], source.state_dict()[FILTERS].flip(1))
    assert "B, G, R" in lines[0]


def test_a_grey_file_becomes_rgb_and_gives_the_same_of_grey() -> None:
    source, grey = vit(1), torch.rand(1, 1, 32, 32)
    model, lines = adapted(source, Bands())
    assert torch.allclose(model(grey.expand(-1, 3, -1, -1)).tokens, source(grey).tokens, atol=1e-5)
    assert "one channel" in lines[0]


@pytest.mark.parametrize(
    ("channels", "meta", "names", "fact"),
    [
        (3, card("a", "b", "c"), ("a", "b", "d"), "d is not in the file"),
        (4, {}, ("R", "G", "B"), "4 channels"),
        (3, card("a", "b"), ("a", "b"), "names 2 bands"),
    ],
)
def test_contradictions_stop_in_one_line(
    channels: int, meta: dict[str, object], names: tuple[str, ...], fact: str
) -> None:
    with pytest.raises(UserError, match=fact) as error:
        adapted(vit(channels), Bands(names), meta)
    assert "file.pth" in str(error.value) and "\n" not in str(error.value)


def test_a_decoder_predicts_bands_by_name_or_is_refused() -> None:
    source = vit(3).state_dict()
    rows = torch.arange(12.0)[:, None].expand(-1, 5)  # 2 x 2 pixels of three channels
    found = {**source, "head.decoder_pred.weight": rows}
    own = {**vit(2, 1).state_dict(), "head.decoder_pred.weight": torch.zeros(8, 5)}
    fit = Fit(own, found, {name: name for name in found})
    changed, _ = at_bands(FILE, fit, card("a", "b", "c"), Bands(("c", "a")))
    assert changed.found["head.decoder_pred.weight"][:, 0].tolist() == [2, 0, 5, 3, 8, 6, 11, 9]
    with pytest.raises(UserError, match="new_head"):
        at_bands(FILE, fit, {}, Bands(("R", "NIR")))
