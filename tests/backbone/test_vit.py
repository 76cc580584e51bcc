from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from maekit.backbone.pos_embed import sincos_pos_embed
from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from tests.backbone.helpers import resized_by_matrices
from tests.numeric import assert_float64, assert_fp32_function, assert_half

pytestmark = pytest.mark.numeric

TEST_SIZE = load_size("vit_test_patch8")
TIMM_SIZE: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 2, "num_classes": 0}


def _images(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def _vit(image_size: tuple[int, int] = (32, 48), **options: Any) -> ViT:
    """The test size with every parameter random, so that none can be left out unnoticed."""
    torch.manual_seed(2)
    vit = ViT(TEST_SIZE, image_size=image_size, **options)
    for parameter in vit.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return vit


def _timm(state: dict[str, Tensor], image_size: tuple[int, int], pooling: str, drop_path: float = 0.0) -> Any:
    """timm's model of the architecture of vit_*_patch16_224.mae at the test size, with the given parameters."""
    pool: Any = {"mean": "avg", "class": "token"}[pooling]
    model = VisionTransformer(image_size, 8, **TIMM_SIZE, global_pool=pool, drop_path_rate=drop_path)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) == ({"fc_norm.weight", "fc_norm.bias"} if pooling == "mean" else set())
    return model


def _backward(tokens: Tensor, module: nn.Module) -> dict[str, Tensor]:
    """The gradient of every parameter that has one, for a fixed random gradient of the tokens."""
    module.zero_grad()
    torch.autograd.backward(tokens, torch.randn(tokens.shape, generator=torch.Generator().manual_seed(3)) / 10)
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_tokens_and_gradients_equal_timms(pooling: str) -> None:
    ours = _vit(final_norm=pooling == "class")
    theirs = _timm(ours.state_dict(), (32, 48), pooling)
    images = _images(32, 48)
    mine, other = ours(images).tokens, theirs.forward_features(images)
    assert_float64(mine, other)
    gradients = _backward(mine, ours)
    assert set(gradients) == {name for name, _ in ours.named_parameters()}
    assert_float64(gradients, _backward(other, theirs))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pooling", ["mean", "class"])
@pytest.mark.parametrize("image_size", [(64, 24), (16, 56)])
def test_tokens_equal_timms_after_the_positions_are_resized_to_another_grid(
    pooling: str, image_size: tuple[int, int]
) -> None:
    ours = _vit(final_norm=pooling == "class")
    state = ours.state_dict()
    grid = (image_size[0] // 8, image_size[1] // 8)
    state["pos_embed"] = resized_by_matrices(state["pos_embed"], (4, 6), grid, 1)
    theirs = _timm(state, image_size, pooling)
    images = _images(*image_size)
    assert_fp32_function(
        lambda given: ours(given).tokens, [images], theirs.forward_features(images)
    )  # positions are resized in fp32


@pytest.mark.usefixtures("float64")
def test_a_stored_grid_is_resized_on_every_forward_and_trained_where_it_is_stored() -> None:
    stored = _vit((64, 24), pos_grid=(4, 6))
    assert stored.grid == (8, 3)
    assert stored.pos_embed is not None and stored.pos_embed.shape == (1, 25, 48)
    state = stored.state_dict()
    resized = ViT(TEST_SIZE, image_size=(64, 24))
    resized.load_state_dict(state | {"pos_embed": resized_by_matrices(state["pos_embed"], (4, 6), (8, 3), 1)})
    images = _images(64, 24)
    assert_fp32_function(lambda given: stored(given).tokens, [images], resized(images).tokens)
    assert _backward(stored(images).tokens, stored)["pos_embed"].abs().min() > 0


@pytest.mark.usefixtures("float64")
def test_training_with_drop_path_equals_timms_with_the_same_draws() -> None:
    """Samples whose branch is dropped are not computed here and multiplied by zero there."""
    ours = _vit(drop_path=0.6).train()
    theirs = _timm(ours.state_dict(), (32, 48), "class", drop_path=0.6).train()
    images = _images(32, 48)
    for seed in range(6):
        torch.manual_seed(seed)
        mine = ours(images).tokens
        torch.manual_seed(seed)
        other = theirs.forward_features(images)
        assert_float64(mine, other)
        assert_float64(_backward(mine, ours), _backward(other, theirs))


@pytest.mark.usefixtures("float64")
def test_drop_path_grows_linearly_over_the_blocks() -> None:
    with torch.device("meta"):
        vit = ViT(load_size("vit_base_patch16"), image_size=(224, 224), drop_path=0.22)
    rates = torch.tensor([block.drop_path for block in vit.blocks])
    assert_float64(rates, torch.arange(12) * 0.02)


@pytest.mark.usefixtures("float64")
def test_without_a_class_token_patches_are_encoded_alone() -> None:
    ours = _vit(class_token=False)
    state = ours.state_dict()
    assert "cls_token" not in state
    assert state["pos_embed"].shape == (1, 24, 48)
    theirs = VisionTransformer((32, 48), 8, **TIMM_SIZE, class_token=False, global_pool="avg", fc_norm=False)
    theirs.load_state_dict(state)
    images = _images(32, 48)
    assert_float64(ours(images).tokens, theirs.forward_features(images))


@pytest.mark.usefixtures("float64")
def test_features_are_the_raw_residual_streams_of_timms_blocks_as_maps() -> None:
    ours = _vit()
    theirs = _timm(ours.state_dict(), (32, 48), "class")
    images = _images(32, 48)
    features = ours.features(images, [2, 0])
    maps = theirs.forward_intermediates(images, indices=[0, 2], norm=False, intermediates_only=True)
    assert len(features.maps) == 2
    assert_float64(features.maps, (maps[1], maps[0]))
    assert_float64(features.class_token, theirs.forward_features(images)[:, 0])
    assert _vit(class_token=False).features(images, []).class_token is None


@pytest.mark.usefixtures("float64")
def test_visible_tokens_alone_can_be_encoded() -> None:
    """As pre-training does: of embedded tokens some are gathered, and they do not see the others."""
    vit, images = _vit(), _images(32, 48)
    kept = torch.tensor([3, 5, 11, 20])
    changed = images.clone()
    changed[:, :, :8, :8] += 1
    results = []
    for pictures in (images, changed):
        results.append(vit(pictures, visible=kept.expand(2, -1)).tokens)
    assert results[0].shape == (2, 5, 48)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    theirs = _timm(vit.state_dict(), (32, 48), "class")
    embedded = theirs._pos_embed(theirs.patch_embed(images))
    expected = theirs.norm(theirs.blocks(torch.cat([embedded[:, :1], embedded[:, 1:][:, kept]], dim=1)))
    assert_float64(results[0], expected)


@pytest.mark.parametrize(("global_blocks", "reach"), [((), 4), ((1,), 24)])
def test_windowed_blocks_keep_a_patch_in_its_window_and_global_blocks_do_not(
    global_blocks: tuple[int, ...], reach: int
) -> None:
    vit = _vit(class_token=False, window=2, global_blocks=global_blocks)
    images = _images(32, 48)
    changed = images.clone()
    changed[:, :, :8, :8] += 1
    different = (vit(images).tokens != vit(changed).tokens).any(dim=2)
    assert different.sum(dim=1).tolist() == [reach, reach]
    assert different.view(2, 4, 6)[:, :2, :2].all()


@pytest.mark.parametrize(
    ("name", "image_size", "count"),
    [
        ("vit_base_patch16", 224, 85_798_656),
        ("vit_large_patch16", 224, 303_301_632),
        ("vit_huge_patch14", 224, 630_764_800),
        ("vit_huge_patch14", 448, 633_028_840 - 1_281_000),  # the published classifier less its head
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, image_size: int, count: int) -> None:
    with torch.device("meta"):
        vit = ViT(load_size(name), image_size=(image_size, image_size))
        tokens = vit(torch.empty(1, 3, image_size, image_size)).tokens
    assert sum(parameter.numel() for parameter in vit.parameters()) == count
    assert tokens.shape == (1, 1 + (image_size // vit.patch_size) ** 2, vit.embed_dim)


def test_a_fresh_vit_is_initialised_as_mae_is() -> None:
    torch.manual_seed(0)
    vit = ViT(load_size("vit_smoke_patch8"), image_size=(64, 96))
    assert vit.pos_embed is not None
    torch.testing.assert_close(vit.pos_embed.data, sincos_pos_embed(96, (8, 12), class_token=True), rtol=0, atol=0)
    linears = [(m.weight, m.bias) for m in vit.modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 4 * 4
    for weight, bias in [*linears, (vit.patch_embed.proj.weight.flatten(1), None)]:
        bound = (6 / sum(weight.shape)) ** 0.5
        assert 0.99 * bound < weight.abs().max() <= bound
        assert abs(weight.std().item() / (bound / 3**0.5) - 1) < 0.03
        assert bias is None or not bias.any()
    assert vit.cls_token is not None
    assert 0.015 < vit.cls_token.std() < 0.025


def test_gradient_checkpointing_changes_no_gradient_also_with_drop_path() -> None:
    plain = _vit(drop_path=0.5).train()
    saving = _vit(drop_path=0.5, gradient_checkpointing=True).train()
    images = _images(32, 48)
    for seed in range(4):
        gradients = []
        for vit in (plain, saving):
            torch.manual_seed(seed)
            gradients.append(_backward(vit(images).tokens, vit))
        torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_gradient_checkpointing_runs_every_block_twice() -> None:
    vit = _vit(gradient_checkpointing=True)
    runs: list[int] = []
    for index, block in enumerate(vit.blocks):
        block.get_submodule("norm1").register_forward_hook(lambda *_, index=index: runs.append(index))
    _backward(vit(_images(32, 48)).tokens, vit)
    assert runs == [0, 1, 2, 2, 1, 0]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("checkpointing", "drop_path"), [(False, 0.5), (True, 0.0)])
def test_compiled_in_place_as_one_graph_it_trains_the_same(checkpointing: bool, drop_path: float) -> None:
    """The compiled graph multiplies dropped branches by zero, and so has other arithmetic to agree with.

    The two options are apart since only the backends after "eager" repeat random draws in a recomputed block.
    """
    options: dict[str, Any] = {"drop_path": drop_path, "pos_grid": (3, 3), "gradient_checkpointing": checkpointing}
    eager, compiled = _vit(**options).train(), _vit(**options).train()
    compiled.compile(backend="eager", fullgraph=True)
    assert list(compiled.state_dict()) == list(eager.state_dict())
    images, results = _images(32, 48), []
    for vit in (eager, compiled):
        torch.manual_seed(4)
        tokens = vit(images).tokens
        results.append((tokens.detach(), _backward(tokens, vit)))
    assert_float64(results[0], results[1])


def test_autocast_stays_near_float32() -> None:
    vit, images = _vit(drop_path=0.5).train(), _images(32, 48)
    torch.manual_seed(0)
    full = vit(images).tokens
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        half = vit(images).tokens
    assert half.dtype == torch.float32
    assert_half(half, full)


@pytest.mark.parametrize("name", ["vit_base_patch16", "vit_large_patch16", "vit_huge_patch14"])
def test_every_parameter_has_the_layer_of_the_published_code(name: str) -> None:
    size = load_size(name)
    with torch.device("meta"):
        vit = ViT(size, image_size=(224, 224))
    expected = {"cls_token": 0, "pos_embed": 0, "patch_embed.proj.weight": 0, "patch_embed.proj.bias": 0}
    for index in range(size.num_blocks):
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
            for kind in ("weight", "bias"):
                expected[f"blocks.{index}.{layer}.{kind}"] = index + 1
    if size.num_registers:
        expected["reg_token"] = 0
    expected |= {"norm.weight": size.num_blocks + 1, "norm.bias": size.num_blocks + 1}
    assert {name: vit.layer_of(name) for name, _ in vit.named_parameters()} == expected
    assert vit.layer_of("mask_token") == 0


@pytest.mark.parametrize("name", ["block.0.norm1.weight", "blocks.3.norm1.weight", "blocks.x", "norm1.weight", ""])
def test_a_parameter_of_no_layer_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"got the backbone parameter '{name}'"):
        _vit().layer_of(name)


def test_an_image_of_another_size_than_whole_patches_is_refused() -> None:
    with pytest.raises(UserError, match=r"got an image of 32x50 pixels.*patch size 8.*32x48, 32x56"):
        _vit()(torch.zeros(1, 3, 32, 50))
    with pytest.raises(UserError, match="got an image of 31x48 pixels"):
        ViT(TEST_SIZE, image_size=(31, 48))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UserError, match="got window 2 with a class token"):
        _vit(window=2)
    with pytest.raises(UserError, match=r"got drop_path 1\.0"):
        _vit(drop_path=1.0)
    with pytest.raises(UserError, match=r"got the blocks \[3, -1\], expected numbers from 0 to 2"):
        _vit().features(_images(32, 48), [3, 0, -1])
    with pytest.raises(UserError, match=r"got the blocks \[7\]"):
        _vit(class_token=False, window=2, global_blocks=(7,))


def test_a_map_after_a_block_that_is_not_run_or_of_a_few_patches_is_refused() -> None:
    vit, images = _vit(), _images(32, 48)
    assert vit(images, taps=[1], num_blocks=2).maps[0].shape == (2, 48, 4, 6)
    with pytest.raises(UserError, match=r"\[2\].*2 are run"):
        vit(images, taps=[2], num_blocks=2)
    with pytest.raises(ValueError, match="all patches"):
        vit(images, taps=[1], visible=torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.usefixtures("float64")
def test_the_residual_stream_through_the_norm_is_what_a_call_of_as_many_blocks_gives() -> None:
    vit, images = _vit(), _images(32, 48)
    for count in range(4):
        tokens, grid = vit.residual_stream(images, count)
        assert grid == (4, 6)
        assert_float64(vit.norm(tokens), vit(images, num_blocks=count).tokens)


def test_images_of_any_number_of_channels_are_encoded() -> None:
    five, one = _vit(channels=5), _vit(channels=1)
    filters = five.patch_embed.proj.weight
    one.load_state_dict({**five.state_dict(), "patch_embed.proj.weight": filters.sum(1, keepdim=True)})
    grey = _images(32, 48)[:, :1]
    assert five.channels == 5
    torch.testing.assert_close(five(grey.expand(-1, 5, -1, -1)).tokens, one(grey).tokens, atol=1e-5, rtol=0)
