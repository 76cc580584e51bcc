"""The pyramids: ViTDet's, with its backbone, equals detectron2's, Table 4's is what its parts make of the maps."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.backbone.sizes import Size
from maekit.backbone.vit import ViT
from maekit.detection.channel_norm import ChannelNorm
from maekit.detection.pyramids import NormedConv, SimplePyramid, TapPyramid, Twice
from tests.detection.golden import vitdet_case as case
from tests.numeric import MARGIN, SEEDS, assert_float64, assert_fp32, fp32_errors, moved

pytestmark = pytest.mark.numeric
ARRAYS = Path(__file__).parent / "golden/vitdet_arrays.npz"
INSTALLED = importlib.util.find_spec("detectron2") is not None


class Backbone(nn.Module):
    """maekit's ViT and pyramid with the shape of the golden case."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ViT(
            Size("case", case.EMBED_DIM, case.NUM_BLOCKS, case.NUM_HEADS, case.PATCH),
            image_size=(case.IMAGE_SIDE, case.IMAGE_SIDE),
            pos_grid=(case.STORED_SIDE // case.PATCH,) * 2,
            class_token=False,
            final_norm=False,
            window=case.WINDOW,
            global_blocks=(case.GLOBAL_BLOCK,),
            relative_position="decomposed",
        )
        self.pyramid = SimplePyramid(case.EMBED_DIM, case.CHANNELS)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.pyramid(self.net(images, taps=[case.NUM_BLOCKS - 1]).maps)  # type: ignore[no-any-return]


def renamed(name: str) -> str:
    """Our name of detectron2's, by hand."""
    name = name.replace("backbone.simfp_", "pyramid.simfp_").removeprefix("backbone.")
    return name.replace(".attn.rel_pos_", ".attn.position.rel_pos_")


def loaded(names: list[str], shapes: list[list[int]]) -> Backbone:
    """With the case's weights by detectron2's names; of the positions the class token's row is left out."""
    model = Backbone()
    state = {renamed(name): case.weight(name, shape) for name, shape in zip(names, shapes, strict=True)}
    state["net.pos_embed"] = state["net.pos_embed"][:, 1:]
    model.load_state_dict(state)
    return model


def outcome(model: Backbone, name: str, image: Tensor | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The levels and the gradients, in the model's dtype."""
    dtype = model.net.get_parameter("pos_embed").dtype
    image = case.drawn(name, 3, *case.IMAGES[name]) if image is None else image
    maps = model(image[None].to(dtype))
    model.zero_grad()
    levels = zip(case.LEVELS, maps, strict=True)
    ups = [case.drawn(f"{name} {level}", *image.shape[1:])[None].to(dtype) for level, image in levels]
    torch.autograd.backward(maps, ups)
    gradients = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    return dict(zip(case.LEVELS, maps, strict=True)), gradients


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    with np.load(ARRAYS) as file:
        return dict(file)


@pytest.mark.parametrize("name", list(case.IMAGES))
def test_levels_and_gradients_equal_detectron2s(arrays: dict[str, Any], name: str) -> None:
    names = arrays["names"].tolist()
    model = loaded(names, [[int(size) for size in shape.split(",")] for shape in arrays["shapes"]])
    singles = [outcome(model, name, moved(case.drawn(name, 3, *case.IMAGES[name]), seed)) for seed in SEEDS]
    maps, gradients = outcome(model.double(), name)
    errors = fp32_errors(maps, [single for single, _ in singles])
    for level, image in maps.items():
        assert_fp32(torch.from_numpy(arrays[f"{name} {level}"]), image, errors[level], level)
    errors = fp32_errors(gradients, [single for _, single in singles])
    norms = dict(zip(arrays["gradient_names"].tolist(), arrays[f"{name} gradient_norms"].tolist(), strict=True))
    assert len(norms) == len(gradients)
    for key, norm in norms.items():
        assert abs(gradients[renamed(key)].norm().item() - norm) <= MARGIN * errors[renamed(key)], key
    whole = [key for key in arrays if key.startswith(f"{name} gradient backbone.")]
    assert len(whole) > 8
    for key in whole:
        expected = torch.from_numpy(arrays[key])
        if key.endswith("pos_embed"):
            assert not expected[:, 0].any()
            expected = expected[:, 1:]
        ours = renamed(key.removeprefix(f"{name} gradient "))
        assert_fp32(expected, gradients[ours], errors[ours], ours)


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not INSTALLED, reason="detectron2 is not installed")
@pytest.mark.parametrize("name", list(case.IMAGES))
def test_levels_and_gradients_equal_those_of_detectron2_live(name: str) -> None:
    from tests.detection.golden.make_vitdet_arrays import detectron2_model

    theirs = detectron2_model()
    state = theirs.state_dict()
    model = loaded(list(state), [list(tensor.shape) for tensor in state.values()])
    singles = [outcome(model, name, moved(case.drawn(name, 3, *case.IMAGES[name]), seed)) for seed in SEEDS]
    maps, gradients = outcome(model.double(), name)  # but for tables that are resized, in fp32 whatever they hold
    expected = theirs["backbone"](case.drawn(name, 3, *case.IMAGES[name])[None])
    errors = fp32_errors(maps, [single for single, _ in singles])
    for level, image in maps.items():
        assert_fp32(expected[level], image, errors[level], level)
    ups = [case.drawn(f"{name} {level}", *expected[level].shape[1:])[None] for level in case.LEVELS]
    torch.autograd.backward(list(expected.values()), ups)
    errors = fp32_errors(gradients, [single for _, single in singles])
    for key, value in theirs.named_parameters():
        wanted, ours = value.grad[:, 1:] if key.endswith("pos_embed") else value.grad, renamed(key)
        assert_fp32(wanted, gradients[ours], errors[ours], ours)


def test_maps_go_out_channel_by_channel() -> None:
    maps = SimplePyramid(8, 4)([torch.randn(1, 8, 6, 4)])
    assert [tuple(image.shape[2:]) for image in maps] == [(24, 16), (12, 8), (6, 4), (3, 2), (2, 1)]
    assert all(image.is_contiguous() for image in maps)


@pytest.mark.usefixtures("float64")
def test_channel_norm_is_layer_norm_of_each_pixel() -> None:
    norm, image = ChannelNorm(5), torch.randn(2, 5, 3, 4) * 10 + 3
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (image - image.mean(1, keepdim=True)) / (image.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    expected = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    assert_float64(norm(image), expected)


def test_channel_norm_of_bfloat16_is_that_of_the_same_numbers_in_float32_rounded_once() -> None:
    norm, image = ChannelNorm(5), torch.randn(2, 5, 3, 4) * 10 + 3
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    with torch.autocast("cpu", torch.bfloat16):
        half = norm(image.bfloat16() + 1000)
    expected = norm((image.bfloat16() + 1000).float())
    torch.testing.assert_close(half.float(), expected, rtol=2**-7, atol=2**-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_convolution_is_that_of_torch_whatever_the_layout(kernel_size: int) -> None:
    conv = NormedConv(6, 4, kernel_size, nn.Identity())
    for image in (torch.randn(2, 6, 5, 3), torch.randn(2, 5, 3, 6).permute(0, 3, 1, 2)):
        expected = F.conv2d(image, conv.weight, padding=kernel_size // 2)
        assert_float64(conv(image), expected)


@pytest.mark.usefixtures("float64")
def test_a_deconvolution_is_that_of_torch_with_gradients() -> None:
    twice, image = Twice(6, 4), torch.randn(2, 6, 5, 3, requires_grad=True)
    results = []
    for out in (twice(image), F.conv_transpose2d(image, twice.weight, twice.bias, stride=2)):
        results.append((out, *torch.autograd.grad(out.square().sum(), [image, *twice.parameters()])))
    assert_float64(results[0], results[1])


@pytest.mark.usefixtures("float64")
def test_the_pyramid_of_taps_is_an_fpn_of_its_rescaled_maps() -> None:
    torch.manual_seed(0)
    pyramid = TapPyramid(8, 6, norm_groups=2).eval()
    for tensor in pyramid.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0)
    state = pyramid.state_dict()
    maps = [torch.randn(2, 8, 4, 6) for _ in range(4)]

    def deconvolved(image: Tensor, name: str) -> Tensor:
        return F.conv_transpose2d(image, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)

    def convolved(image: Tensor, name: str) -> Tensor:
        weight = state[f"{name}.weight"]
        out = F.conv2d(image, weight, padding=weight.shape[-1] // 2)
        kept = [state[f"{name}.norm.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(out, *kept)

    first = deconvolved(maps[0], "rescale_2.0")
    first = F.gelu(F.group_norm(first, 2, state["rescale_2.1.weight"], state["rescale_2.1.bias"]))
    sizes = [deconvolved(first, "rescale_2.3"), deconvolved(maps[1], "rescale_3"), maps[2], F.max_pool2d(maps[3], 2)]
    expected: list[Tensor] = []
    above = torch.zeros(2, 6, 1, 1)
    for level in (5, 4, 3, 2):
        side = convolved(sizes[level - 2], f"fpn_lateral{level}")
        above = side + (above if level == 5 else above.repeat_interleave(2, 2).repeat_interleave(2, 3))
        expected.insert(0, convolved(above, f"fpn_output{level}"))
    expected.append(expected[-1][:, :, ::2, ::2])
    found = pyramid(maps)
    assert [tuple(image.shape[1:]) for image in found] == [(6, 16, 24), (6, 8, 12), (6, 4, 6), (6, 2, 3), (6, 1, 2)]
    assert_float64(list(found), expected)


def test_every_parameter_of_the_pyramids_is_used() -> None:
    for pyramid in (SimplePyramid(8, 4), TapPyramid(8, 4, norm_groups=4)):
        maps = pyramid([torch.randn(2, 8, 4, 4) for _ in range(4)])
        sum(image.square().sum() for image in maps).backward()
        assert [name for name, value in pyramid.named_parameters() if value.grad is None] == []
