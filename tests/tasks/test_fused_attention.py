"""On CUDA no attention of any recipe falls back to torch's math kernel, which keeps N x N matrices.

Which kernel takes what is torch's `sdp_utils.cpp`. Its conditions are written out here, since torch answers only on a
GPU; the recipes' shapes, strides and types come from their models on the meta device, which takes the paths of a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from maekit.backbone.attention import Attention, Plain
from maekit.backbone.block import Block
from maekit.backbone.decomposed import Decomposed
from maekit.backbone.relative_bias import TableBias
from maekit.recipes.recipe import flat, load_recipe, recipe_names
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task, shipped_tasks
from tests.stand_in import DEVICE, stand_in, to_device

RECIPES = [(task.name, name) for task in shipped_tasks() for name in recipe_names(task)]
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Layout:
    """What a kernel is chosen by: shape, strides, offset in elements, type."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "Layout":
        return cls(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype)


@dataclass(frozen=True)
class Call:
    """One call of scaled_dot_product_attention."""

    query: Layout
    key: Layout
    value: Layout
    mask: Layout | None


class Calls(TorchFunctionMode):
    """Notes the calls of scaled_dot_product_attention, and softmax over square matrices, which none may make."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Call, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            assert not kwargs.get("dropout_p")
            mask = kwargs.get("attn_mask")
            q, k, v = (Layout.of(tensor) for tensor in args[:3])
            self.found[Call(q, k, v, None if mask is None else Layout.of(mask))] = None
        assert func not in (Tensor.softmax, F.softmax, torch.softmax), "attention that is written out"
        return func(*args, **kwargs)


def aligned(layout: Layout) -> bool:
    """Rows of whole 16 bytes that begin at such an address."""
    size = layout.dtype.itemsize
    return layout.shape[-1] * size % 16 == 0 and layout.offset * size % 16 == 0 and layout.stride[-1] == 1


def flash(call: Call) -> bool:
    """The flash kernel: 16 bit, no mask, one head width of at most 256."""
    three = (call.query, call.key, call.value)
    widths = {one.shape[-1] for one in three}
    return (
        call.mask is None
        and all(one.dtype in HALF and one.stride[-1] == 1 for one in three)
        and len(widths) == 1
        and max(widths) <= 256
    )


def efficient(call: Call) -> bool:
    """The memory-efficient kernel of Ampere and newer: aligned rows, a mask of the query's type with unit stride."""
    three = (call.query, call.key, call.value)
    return (
        all(aligned(one) and one.dtype in (*HALF, torch.float32) for one in three)
        and len({one.dtype for one in three}) == 1
        and call.query.shape[-1] == call.key.shape[-1]
        and (call.mask is None or (call.mask.dtype == call.query.dtype and call.mask.stride[-1] == 1))
        and max(call.query.shape[:2]) <= 65535  # the grid of a CUDA launch
    )


def kinds_of_models() -> dict[str, tuple[str, str]]:
    """A recipe for each kind of attention there is: what tasks of classification share is listed once."""
    found: dict[str, tuple[str, str]] = {}
    for task, recipe in RECIPES:
        values = flat(load_recipe(find_task(task), recipe).values)
        own = {"backbone", "window", "global_blocks", "relative_position", "image_size", "crop_size", "mask_ratio"}
        named = {key: value for key, value in values if key.rpartition(".")[2] in own or "decoder" in key}
        family = find_task(task).load().Model.__mro__[1].__module__
        shared = "classification" if "maekit.classification" in family else task
        found.setdefault(f"{shared} {sorted(named.items(), key=str)}", (task, recipe))
    return found


def calls_of(task: str, recipe: str) -> list[Call]:
    """The distinct calls of a recipe's blocks on two images, on the meta device in fp32."""
    stacked = load_recipe(find_task(task), recipe)
    module = stacked.task.load()
    values = resolve(stacked, module, [], training=True).values
    side = values["data"].get("image_size") or values["data"]["crop_size"]
    spy = Calls()
    with torch.device("meta"), torch.no_grad():
        model = module.Model.build(replace(module.Data.published, image_size=(side, side)), values["model"])
        grid, prefix = model.backbone.grid, model.backbone.num_prefix
        counts = {prefix + grid[0] * grid[1]}
        if share := values["model"].get("mask_ratio"):
            counts.add(prefix + int(grid[0] * grid[1] * (1 - share)))
        distinct = {}
        for block in (block for block in model.modules() if isinstance(block, Block)):
            shapes = tuple(tensor.shape for tensor in block.parameters())
            distinct[shapes, block.window, type(block.attn.position)] = block
        with spy:
            for block in distinct.values():
                for count in counts:
                    block.attn(torch.empty(2, count, block.attn.proj.in_features), grid, block.window)
    return list(spy.found)


def in_type(call: Call, dtype: torch.dtype) -> Call:
    """The same call with tensors of another type."""
    q, k, v = (replace(one, dtype=dtype) for one in (call.query, call.key, call.value))
    return Call(q, k, v, None if call.mask is None else replace(call.mask, dtype=dtype))


def test_every_attention_of_every_recipe_has_a_fused_kernel() -> None:
    models = kinds_of_models()
    masked = 0
    for task, recipe in models.values():
        calls = calls_of(task, recipe)
        assert calls
        masked += sum(call.mask is not None for call in calls)
        for call in calls:
            half = in_type(call, torch.bfloat16)
            assert efficient(call), (task, recipe, call)
            assert efficient(half), (task, recipe, half)
            assert call.mask is not None or flash(half), (task, recipe, half)
    assert len(models) >= 20
    assert masked >= 4, "UperNet's tables are masks"


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has one accelerator, here a real one")
@pytest.mark.parametrize("width", [64, 80])
@pytest.mark.parametrize(
    ("position", "prefix"),
    [
        (lambda width: Plain(), 1),
        (lambda width: TableBias(4, (8, 8), num_prefix=1), 1),
        (lambda width: TableBias(4, (8, 8), num_prefix=0), 0),
        (lambda width: Decomposed(width, (8, 8)), 0),
    ],
)
def test_under_autocast_queries_and_masks_have_one_type(
    position: Callable[[int], torch.nn.Module], prefix: int, width: int
) -> None:
    """The tables are 32-bit parameters; a mask of 32 bits beside 16-bit queries would fall to the math kernel."""
    with stand_in(), torch.autocast(DEVICE.type, torch.bfloat16), Calls() as spy:
        attention = to_device(Attention(4 * width, 4, position(width)))
        attention(torch.zeros(2, 64 + prefix, 4 * width, device=DEVICE), (8, 8))
    (call,) = spy.found
    assert call.query.dtype == torch.bfloat16
    assert efficient(call)


def test_the_rules_tell_bad_calls_from_good_ones() -> None:
    good = Layout((2, 4, 65, 64), (4 * 65 * 64, 64, 4 * 64, 1), 0, torch.bfloat16)
    mask = Layout((4, 65, 65), (65 * 65, 65, 1), 0, torch.bfloat16)
    odd = replace(good, shape=(2, 4, 65, 68))
    assert efficient(Call(good, good, good, mask))
    assert not flash(Call(good, good, good, mask))
    assert not efficient(Call(odd, odd, odd, None))
    assert not efficient(Call(good, good, good, replace(mask, dtype=torch.float32)))
    assert not efficient(Call(good, good, good, replace(mask, stride=(65 * 65, 1, 65))))
    assert not efficient(Call(replace(good, offset=4), good, good, None))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_fused_kernels_take_every_recipes_shapes(dtype: torch.dtype) -> None:
    """Forward and backward of each distinct call on a GPU, with the math kernel forbidden."""
    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
    calls = {call: None for task, recipe in kinds_of_models().values() for call in calls_of(task, recipe)}
    for call in (in_type(call, dtype) for call in calls):
        q, k, v = (on_a_gpu(layout) for layout in (call.query, call.key, call.value))
        mask = None if call.mask is None else on_a_gpu(call.mask)
        with sdpa_kernel(fused):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out.sum().backward()  # type: ignore[no-untyped-call]
        assert q.grad is not None
        assert q.grad.isfinite().all()


def on_a_gpu(layout: Layout) -> Tensor:
    """A leaf with that layout, of normal numbers."""
    extent = layout.offset + sum((n - 1) * s for n, s in zip(layout.shape, layout.stride, strict=True)) + 1
    flat = torch.randn(extent, device="cuda", dtype=layout.dtype)
    return flat.as_strided(layout.shape, layout.stride, layout.offset).requires_grad_()
