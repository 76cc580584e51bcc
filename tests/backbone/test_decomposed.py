"""Decomposed relative position: its definition, its two fast forms, other grids, and what blocks may share."""

import copy
import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from maekit.backbone import decomposed, tiled
from maekit.backbone.attention import Grid, Plain
from maekit.backbone.decomposed import Decomposed, attend_folded
from maekit.backbone.relative_bias import TableBias
from maekit.backbone.sizes import Size, load_size
from maekit.backbone.tiled import attend_in_tiles
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.optim.groups import check_groups, parameter_groups, parameter_rows
from tests.numeric import assert_float64, assert_fp32_function, assert_half

pytestmark = pytest.mark.numeric

TINY = Size("tiny", embed_dim=24, num_blocks=4, num_heads=2, patch_size=8)
VITDET: dict[str, Any] = {"class_token": False, "final_norm": False, "window": 3, "global_blocks": (1, 3)}


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _filled(grid: Grid, head_dim: int = 6) -> Decomposed:
    module = Decomposed(head_dim, grid)
    for seed, table in enumerate(module.parameters()):
        table.data.copy_(_drawn(*table.shape, seed=10 + seed))
    return module


def _by_definition(module: Decomposed, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
    """Score by score, with the unscaled query, in float64."""
    h, w = grid
    q, k, v = q.double(), k.double(), v.double()
    tables = module.rel_pos_h.double(), module.rel_pos_w.double()
    scores = torch.einsum("bnic,bnjc->bnij", q, k) / q.shape[-1] ** 0.5
    shifts = [(i // w - j // w + h - 1, i % w - j % w + w - 1) for i in range(h * w) for j in range(h * w)]
    vectors = torch.stack([tables[0][row] + tables[1][column] for row, column in shifts]).view(h * w, h * w, -1)
    out: Tensor = (scores + torch.einsum("bnic,ijc->bnij", q, vectors)).softmax(-1) @ v
    return out


def _with_gradients(attend: Any, module: Decomposed, tensors: list[Tensor], grid: Grid) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    out = attend(*leaves, grid)
    found = torch.autograd.grad(out, [*leaves, *module.parameters()], _drawn(*out.shape, seed=5).to(out.dtype))
    return [value.double() for value in (out.detach(), *found)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("form", ["in tiles", "folded"])
@pytest.mark.parametrize("tile", [1, 40, 2**17])
@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (5, 2)])
def test_outputs_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, grid: Grid, tile: int, form: str
) -> None:
    monkeypatch.setattr(tiled, "TILE", tile)
    monkeypatch.setattr(decomposed, "attend_in_tiles", {"in tiles": attend_in_tiles, "folded": attend_folded}[form])
    module = _filled(grid)
    tensors = [_drawn(2, 3, grid[0] * grid[1], 6, seed=seed) for seed in range(3)]
    found = _with_gradients(module, module, tensors, grid)
    expected = _with_gradients(lambda *given: _by_definition(module, *given), module, tensors, grid)
    assert_float64(found, expected)


@pytest.mark.usefixtures("float64")
def test_the_two_forms_are_one_in_float64() -> None:
    tensors = [_drawn(2, 3, 12, 6, seed=seed).double().requires_grad_() for seed in range(3)]
    tensors += [_drawn(2, 3, 12, side, seed=side).double().requires_grad_() for side in (3, 4)]
    results = []
    for attend in (attend_in_tiles, attend_folded):
        out = attend(*tensors)
        results.append((out, *torch.autograd.grad(out.square().sum(), tensors)))
    assert_float64(results[0], results[1])


@pytest.mark.parametrize(("length", "heads", "rows"), [(196, 3, 196), (4096, 1, 32), (3000, 1, 43)])
def test_tiles_cover_all_scores_once_and_stay_small(length: int, heads: int, rows: int) -> None:
    tiles = tiled._tiles(torch.empty(5, length, 2))
    assert tiles[0] == (slice(0, heads), slice(0, rows))
    places = torch.zeros(5, length, dtype=torch.long)
    for tile in tiles:
        places[tile] += 1
    assert (places == 1).all()


@pytest.mark.usefixtures("float64")
def test_tables_of_another_grid_are_interpolated_linearly() -> None:
    module, q = _filled((3, 4)), _drawn(2, 3, 10, 6)
    larger = Decomposed(6, (2, 5))
    for name, table in module.named_parameters():
        new = larger.get_parameter(name)
        at = (torch.arange(len(new)) + 0.5) * len(table) / len(new) - 0.5
        at = at.clamp(0, len(table) - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=len(table) - 1)
        share = (at - low)[:, None]
        new.data.copy_(table.data[low] * (1 - share) + table.data[high] * share)
    for axis, expected in enumerate(larger.biases(q, (2, 5))):  # tables are interpolated in fp32
        assert_fp32_function(lambda moved, axis=axis: module.biases(moved, (2, 5))[axis], [q], expected)


def test_autocast_stays_near_float32() -> None:
    vit = ViT(TINY, image_size=(40, 56), relative_position="decomposed", **VITDET)
    for parameter in vit.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    images = _drawn(1, 3, 40, 56)
    with torch.autocast("cpu", torch.bfloat16):
        half = vit(images).tokens
        half.float().sum().backward()
    assert half.dtype == torch.float32
    assert_half(half, vit(images).tokens)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vit.parameters())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["decomposed", "shared"])
def test_zero_tables_leave_the_backbone_as_it_is(kind: Any) -> None:
    torch.manual_seed(0)
    plain = ViT(TINY, image_size=(40, 56), **VITDET)
    adapted = ViT(TINY, image_size=(40, 56), relative_position=kind, **VITDET)
    assert not adapted.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    images = _drawn(2, 3, 40, 56)
    assert_float64(adapted(images).tokens, plain(images).tokens)


@pytest.mark.usefixtures("float64")
def test_compiled_as_one_graph_it_trains_the_same() -> None:
    two = Size("two", embed_dim=24, num_blocks=2, num_heads=2, patch_size=8)
    vits = [
        ViT(two, image_size=(24, 40), relative_position="decomposed", **VITDET | {"global_blocks": (1,)})
        for _ in range(2)
    ]
    for parameter in vits[0].parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    vits[1].load_state_dict(vits[0].state_dict())
    vits[1].compile(backend="eager", fullgraph=True)
    images = _drawn(2, 3, 24, 40)
    results = []
    for vit in vits:
        tokens = vit(images).tokens
        results.append([tokens, *torch.autograd.grad(tokens.square().sum(), list(vit.parameters()))])
    assert_float64(results[0], results[1])


def _shared() -> ViT:
    vit = ViT(TINY, image_size=(40, 56), relative_position="shared", **VITDET)
    for parameter in vit.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return vit


@pytest.mark.usefixtures("float64")
def test_shared_tables_are_those_of_every_block_of_their_kind() -> None:
    vit = _shared()
    separate = ViT(TINY, image_size=(40, 56), **VITDET)
    separate.load_state_dict({n: t for n, t in vit.state_dict().items() if not n.startswith("shared_bias.")})
    for index, block in enumerate(separate.blocks):
        grid, name = ((5, 7), "grid") if index in (1, 3) else ((3, 3), "window")
        table = TableBias(2, grid, num_prefix=0)
        table.load_state_dict(vit.shared_bias[name].state_dict())  # type: ignore[index]
        block.attn.position = table  # type: ignore[union-attr]
    images = _drawn(2, 3, 40, 56)
    assert_float64(vit(images).tokens, separate(images).tokens)
    vit(images).tokens.square().sum().backward()
    separate(images).tokens.square().sum().backward()
    for name, blocks in (("grid", (1, 3)), ("window", (0, 2))):
        found = vit.get_parameter(f"shared_bias.{name}.table").grad
        parts = [separate.get_parameter(f"blocks.{index}.attn.position.table").grad for index in blocks]
        assert_float64(found, parts[0] + parts[1])  # type: ignore[operator]


def test_shared_tables_are_saved_counted_and_grouped_once() -> None:
    vit = _shared()
    names = [name for name in vit.state_dict() if "position" in name or "shared" in name]
    assert names == ["shared_bias.grid.table", "shared_bias.window.table"]
    assert [name for name, _ in vit.named_parameters() if name in names] == names
    rows = parameter_rows(vit, vit, lr=1.0, layer_decay=0.5, weight_decay=0.1, no_weight_decay=["1d"])
    assert {row.name: row.layer for row in rows if row.name in names} == dict.fromkeys(names, 5)
    check_groups(vit, parameter_groups(vit, rows))
    buffer = io.BytesIO()
    torch.save(vit.state_dict(), buffer)
    again = ViT(TINY, image_size=(40, 56), relative_position="shared", **VITDET)
    again.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    images = _drawn(1, 3, 40, 56)
    assert torch.equal(again(images).tokens, vit(images).tokens)
    twin = copy.deepcopy(vit)
    for table in twin.shared_bias.parameters():  # type: ignore[union-attr]
        table.data.zero_()
    assert not torch.equal(twin(images).tokens, vit(images).tokens)
    assert torch.equal(again(images).tokens, vit(images).tokens)


def test_only_the_tables_that_are_used_are_built() -> None:
    no_windows = {"class_token": False, "final_norm": False, "relative_position": "shared"}
    vit = ViT(TINY, image_size=(40, 56), **no_windows)  # type: ignore[arg-type]
    assert list(vit.shared_bias or ()) == ["grid"]
    vit = ViT(TINY, image_size=(40, 56), window=3, **no_windows)  # type: ignore[arg-type]
    assert list(vit.shared_bias or ()) == ["window"]
    plain = ViT(TINY, image_size=(40, 56), **VITDET)
    assert plain.shared_bias is None
    assert all(isinstance(block.get_submodule("attn.position"), Plain) for block in plain.blocks)


def test_tables_of_the_published_size() -> None:
    with torch.device("meta"):
        vit = ViT(
            load_size("vit_base_patch16"),
            image_size=(1024, 1024),
            pos_grid=(14, 14),
            class_token=False,
            final_norm=False,
            window=14,
            global_blocks=(2, 5, 8, 11),
            relative_position="decomposed",
        )
    rows = {name: tuple(p.shape) for name, p in vit.named_parameters() if "rel_pos" in name}
    assert rows == {
        f"blocks.{i}.attn.position.rel_pos_{axis}": (127 if i in (2, 5, 8, 11) else 27, 64)
        for i in range(12)
        for axis in "hw"
    }
    assert vit.pos_embed is not None and vit.pos_embed.shape == (1, 196, 768)
    assert {vit.layer_of(name) for name in rows} == set(range(1, 13))


def test_what_does_not_go_together_is_refused() -> None:
    for kind in ("decomposed", "shared"):
        with pytest.raises(UserError, match=f"got relative_position '{kind}' with a class token"):
            ViT(TINY, image_size=(32, 32), relative_position=kind)
    with pytest.raises(UserError, match=r"got relative_position 'decompose', expected .* or null.*'decomposed'"):
        ViT(TINY, image_size=(32, 32), relative_position="decompose")  # type: ignore[arg-type]
    vit = ViT(TINY, image_size=(40, 56), relative_position="shared", **VITDET)
    with pytest.raises(UserError, match="got a patch grid of 5x6, expected 5x7"):
        vit(torch.zeros(1, 3, 40, 48))


@pytest.mark.usefixtures("float64")
def test_padding_of_windows_is_projected_by_no_one_but_counts() -> None:
    """A zero token's query, key and value are the bias; here that is far from zero."""
    vit = ViT(TINY, image_size=(40, 56), **VITDET)
    attention: Any = vit.blocks[0].attn
    attention.qkv.bias.data.normal_(std=2.0)
    tokens = _drawn(2, 35, 24)
    image = F.pad(tokens.view(2, 5, 7, 24), (0, 0, 0, 2, 0, 1))
    expected = torch.empty(2, 6, 9, 24)
    for y in range(0, 6, 3):
        for x in range(0, 9, 3):
            window = image[:, y : y + 3, x : x + 3].reshape(2, 9, 24)
            expected[:, y : y + 3, x : x + 3] = attention(window, (3, 3)).view(2, 3, 3, 24)
    wanted = expected[:, :5, :7].reshape(2, 35, 24)
    found = attention(tokens, (5, 7), 3)
    assert_float64(found, wanted)
    gradients = [torch.autograd.grad(out.square().sum(), list(attention.parameters())) for out in (found, wanted)]
    assert_float64(gradients[0], gradients[1])
