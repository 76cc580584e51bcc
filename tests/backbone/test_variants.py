"""Names of backbones, what each part does, and what is refused in one line."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed

from maekit.backbone import sizes
from maekit.backbone.freeze import add_lora, tune_last_blocks
from maekit.backbone.lora import TARGETS
from maekit.backbone.pos_embed import resize_pos_embed
from maekit.backbone.protocol import Hidden
from maekit.backbone.sizes import Size, load_size, variants
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.optim.groups import parameter_rows
from tests.backbone.helpers import bicubic_matrix
from tests.numeric import assert_float64, assert_fp32_function


def vit(name: str, image_size: tuple[int, int] = (32, 48), **options: Any) -> ViT:
    """A ViT whose every parameter is random, LayerScale too."""
    torch.manual_seed(0)
    built = ViT(load_size(name), image_size=image_size, **options)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built


def blocks_of(built: ViT) -> Any:
    return built.blocks


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_tiny_patch16", Size("", 192, 12, 3, 16)),
        ("vit_small_patch8", Size("", 384, 12, 6, 8)),
        ("vit_small_patch16_mocov3", Size("", 384, 12, 12, 16)),
        ("vit_base_patch16_mocov3", Size("", 768, 12, 12, 16)),
        ("vit_base_patch14_dinov2", Size("", 768, 12, 12, 14, layer_scale=1e-5, position_resize="offset")),
        (
            "vit_giant_patch14_reg4_dinov2",
            Size(
                "", 1536, 40, 24, 14, 4, mlp="swiglu", mlp_hidden=4096, layer_scale=1e-5, position_resize="antialias"
            ),
        ),
        (
            "vit_small_plus_patch16_dinov3",
            Size(
                "", 384, 12, 6, 16, 4, mlp="swiglu", mlp_hidden=1536, layer_scale=1e-5, qkv_bias="no_key",
                positions="rotary", rotary_rescale=2.0, norm_eps=1e-5,
            ),
        ),
        (
            "vit_large_patch16_beit",
            Size(
                "", 1024, 24, 16, 16, layer_scale=1e-5, qkv_bias="no_key", positions="none", relative_position="table"
            ),
        ),
        ("vit_giant_patch16_ijepa", Size("", 1408, 40, 16, 16, mlp_hidden=6144, class_token=False, positions="fixed")),
    ],
)  # fmt: skip
def test_a_name_is_a_size_a_patch_registers_and_a_variant(name: str, expected: Size) -> None:
    assert load_size(name) == replace(expected, name=name)


def test_a_name_has_registers_only_where_the_variant_has_others() -> None:
    assert load_size("vit_base_patch16_reg4_dinov3") == load_size("vit_base_patch16_dinov3")
    assert load_size("vit_base_patch16_reg8_dinov3").name == "vit_base_patch16_reg8_dinov3"
    assert load_size("vit_base_patch16_reg0").name == "vit_base_patch16"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_bass_patch16", r"whose size 'bass' is unknown.*did you mean 'vit_base_patch16'\?"),
        (
            "vit_base_patch16_dino3",
            r"whose variant 'dino3' is unknown.*dinov3.*did you mean 'vit_base_patch16_dinov3'\?",
        ),
        ("vit_base_patch16_reg_dinov2", "whose variant 'reg_dinov2' is unknown"),
        ("vit_base_16", r"expected vit_SIZE_patchP\[_regR\]\[_VARIANT\] with SIZE of base.*VARIANT of mocov3"),
        ("vit_base_patch0", "expected vit_SIZE_patchP"),
        ("swin_base_patch4", "expected vit_SIZE_patchP"),
    ],
)
def test_an_unknown_part_of_a_name_is_named(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_size(name)
    assert "\n" not in str(caught.value)


def test_a_variant_of_unknown_parts_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"sizes": {"test": {}}, "variants": {"new": {"sub_norm": True, "at": {"test": {"cls_layers": 2}}}}}
    monkeypatch.setattr(sizes, "_table", lambda: table)
    with pytest.raises(UserError, match=r"got the parts cls_layers, sub_norm for the ViT variant 'new', expected"):
        load_size("vit_test_patch8_new")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"mlp": "swiglue"}, "got mlp 'swiglue' .*did you mean 'swiglu'"),
        ({"relative_position": "decomposed"}, "expected table, shared or null"),
        ({"positions": "rotary", "relative_position": "table"}, "got rotary positions with relative_position 'table'"),
    ],
)
def test_a_row_of_wrong_words_is_refused(part: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Size("vit_new", 48, 3, 2, 8, **part)


@pytest.mark.parametrize("variant", variants())
def test_every_parameter_has_a_layer_and_tokens_are_not_decayed(variant: str) -> None:
    built = vit(f"vit_test_patch8_reg4_{variant}")
    rows = parameter_rows(
        built, built, lr=1.0, layer_decay=0.5, weight_decay=0.1, no_weight_decay=["1d", "pos_embed", "cls_token"]
    )
    rows_by_name = {row.name: row for row in rows}
    trained = {name for name, parameter in built.named_parameters() if parameter.requires_grad}
    assert rows_by_name.keys() == trained
    start = ("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre.")
    for name, row in rows_by_name.items():
        block = name.split(".")[1] if name.startswith("blocks.") else None
        expected = 0 if name.startswith(start) else 4 if block is None else int(block) + 1
        assert row.layer == expected, name
    plain = {name for name, row in rows_by_name.items() if row.weight_decay == 0}
    assert {"reg_token"} | ({"cls_token"} & trained) | ({"pos_embed"} & trained) <= plain
    assert {name for name in trained if ".gamma_" in name or name.endswith("bias")} <= plain
    assert "blocks.0.attn.qkv.weight" not in plain


@pytest.mark.parametrize("options", [{}, {"class_token": False, "window": 3}])
@pytest.mark.parametrize("lora", [False, True])
def test_the_bias_of_the_keys_stays_zero_whatever_is_trained(options: dict[str, Any], lora: bool) -> None:
    built = vit("vit_test_patch8_dinov3", **options)
    if lora:
        add_lora(built, rank=2, alpha=None, targets=TARGETS, dropout=0.0)
        for block in blocks_of(built):
            block.attn.qkv.bias.requires_grad_(True)
    biases = [block.attn.qkv.bias for block in blocks_of(built)]
    for bias in biases:
        bias.data[48:96] = 0
    before = [bias.detach().clone() for bias in biases]
    optimizer = torch.optim.AdamW(built.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        built(torch.randn(2, 3, 32, 48)).tokens.square().sum().backward()
        optimizer.step()
    for bias, old in zip(biases, before, strict=True):
        assert not bias[48:96].any()
        assert (bias != old)[:48].all() and (bias != old)[96:].all()


@pytest.mark.parametrize("window", [0, 3])
def test_what_stands_where_the_bias_of_the_keys_would_be_is_not_used(window: int) -> None:
    built = vit("vit_test_patch8_dinov3", class_token=window == 0, window=window).eval()
    images = torch.randn(2, 3, 32, 48)
    before = built(images).tokens
    for block in blocks_of(built):
        block.attn.qkv.bias.data[48:96] = 7
    assert torch.equal(built(images).tokens, before)


def test_layer_scale_of_a_pre_training_stays_and_begins_as_its_own() -> None:
    own = ViT(load_size("vit_test_patch8_beit"), image_size=(32, 32), layer_scale=0.5)
    added = ViT(load_size("vit_test_patch8"), image_size=(32, 32), layer_scale=0.5)
    for built, value in ((own, 0.1), (added, 0.5)):
        assert all((block.gamma_1 == value).all() for block in blocks_of(built))


def test_fixed_positions_are_not_trained() -> None:
    assert {name for name, p in vit("vit_test_patch8_ijepa").named_parameters() if not p.requires_grad} == {"pos_embed"}


def test_pooling_to_a_class_token_that_is_not_there_is_refused() -> None:
    built = vit("vit_test_patch8_reg4_ijepa")
    tokens = built(torch.zeros(1, 3, 32, 48)).tokens
    assert (built.num_prefix, built.has_class_token, tokens.shape[1]) == (4, False, 28)
    assert built.without_registers(tokens).shape[1] == 24
    with pytest.raises(UserError, match=r"got pooling 'class' for a ViT without a class token, expected 'mean'"):
        built.pool(tokens, "class")


def test_another_relative_position_than_the_pre_trainings_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"got relative_position 'decomposed' .*pre-training has 'table', expected null"
    ):
        vit("vit_test_patch8_beit", class_token=False, window=2, relative_position="decomposed")
    same = vit("vit_test_patch8_beit", relative_position="table")
    assert same.state_dict().keys() == vit("vit_test_patch8_beit").state_dict().keys()


def test_tables_of_windowed_blocks_are_for_windows() -> None:
    built = vit("vit_test_patch8_beit", class_token=False, window=2, global_blocks=[1])
    rows = [block.attn.position.table.shape[0] for block in blocks_of(built)]
    assert rows == [9, 7 * 11, 9]
    assert built(torch.zeros(1, 3, 32, 48)).tokens.shape == (1, 24, 48)


def test_adapters_go_beside_all_layers_of_swiglu() -> None:
    built = vit("vit_test_plus_patch8_dinov3")
    before = built.eval()(images := torch.randn(1, 3, 32, 48)).tokens
    add_lora(built, rank=2, alpha=None, targets=TARGETS, dropout=0.0)
    names = {name for name, parameter in built.named_parameters() if parameter.requires_grad}
    assert {
        f"blocks.0.{of}.lora_{ab}" for of in ("mlp.fc1", "mlp.fc2", "attn.qkv", "attn.proj") for ab in "ab"
    } <= names
    torch.testing.assert_close(built(images).tokens, before)


@pytest.mark.parametrize(
    ("name", "options", "trained"),
    [
        ("vit_test_patch8_beit", {}, set()),
        ("vit_test_patch8", {"layer_scale": 0.1, "relative_position": "table"}, {"gamma_1", "gamma_2", "table"}),
        ("vit_test_patch8_dinov2", {"layer_scale": 0.1, "relative_position": "table"}, {"table"}),
    ],
)
def test_beside_adapters_only_what_a_task_adds_is_trained(
    name: str, options: dict[str, Any], trained: set[str]
) -> None:
    built = vit(name, **options)
    add_lora(built, rank=2, alpha=None, targets=["qkv"], dropout=0.0)
    parts = {name.rpartition(".")[2] for name, parameter in built.named_parameters() if parameter.requires_grad}
    assert parts == {"lora_a", "lora_b"} | trained


def test_what_is_frozen_has_no_augmented_positions() -> None:
    built = vit("vit_test_patch8_dinov3").train()
    images = torch.randn(1, 3, 32, 48)
    assert not torch.equal(built(images).tokens, built(images).tokens)
    tune_last_blocks(built, 1)
    assert torch.equal(built(images).tokens, built(images).tokens)


@pytest.mark.parametrize("variant", variants())
def test_in_windows_every_parameter_has_a_gradient_and_maps_are_of_the_grid(variant: str) -> None:
    """As detection builds it, here with grids that windows do not fill."""
    size = load_size(f"vit_test_patch8_{variant}")
    built = vit(
        size.name,
        (32, 40),
        class_token=False,
        final_norm=False,
        window=3,
        global_blocks=[1],
        pos_grid=(2, 2),
        relative_position=None if size.relative_position else "decomposed",
    )
    maps = built(torch.randn(2, 3, 32, 40), taps=[2]).maps
    assert maps[0].shape == (2, 48, 4, 5)
    maps[0].square().sum().backward()
    assert [name for name, p in built.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("variant", [name for name in variants() if name != "ijepa"])
def test_what_is_hidden_is_not_seen(variant: str) -> None:
    built = vit(f"vit_test_patch8_reg4_{variant}").eval()
    images = torch.randn(2, 3, 32, 48)
    changed = images.clone()
    changed[:, :, :8, :8] += 1
    hidden = Hidden(torch.arange(24).expand(2, -1) < 3, torch.randn(1, 1, 48))
    first, second = (built(given, hidden=hidden).tokens for given in (images, changed))
    assert torch.equal(first, second)
    assert not torch.equal(built(images).tokens, first)
    visible = torch.arange(3, 24).expand(2, -1)
    if built.needs_all_patches:
        with pytest.raises(UserError, match=r"got visible patches for a ViT with tables .*encoder_mask_tokens true"):
            built(images, visible=visible)
    else:
        assert torch.equal(built(images, visible=visible).tokens, built(changed, visible=visible).tokens)


@pytest.mark.numeric
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("new", [(3, 5), (6, 7)])
def test_tables_are_resized_as_the_authors_do(new: tuple[int, int]) -> None:
    table = torch.randn(1, 1 + 24, 12)
    theirs = resample_abs_pos_embed(table, list(new), old_size=[4, 6], num_prefix_tokens=1, antialias=True)
    assert_fp32_function(lambda given: resize_pos_embed(given, (4, 6), new, 1, "antialias"), [table], theirs)
    # DINOv2 gives torch the factor itself, (new + 0.1) / old, and so samples as if for new + 0.1 patches
    rows, columns = (torch.from_numpy(bicubic_matrix(old, side, 0.1)) for old, side in zip((4, 6), new, strict=True))
    patches = torch.einsum("yh,xw,hwd->yxd", rows, columns, table[0, 1:].view(4, 6, 12)).flatten(0, 1)
    expected = torch.cat([table[:, :1], patches[None]], dim=1)
    assert_fp32_function(lambda given: resize_pos_embed(given, (4, 6), new, 1, "offset"), [table], expected)
    assert_float64(resize_pos_embed(table, (4, 6), (4, 6), 1, "offset"), table)
