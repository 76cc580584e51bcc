"""The pyramid, the heads and the pixel loss against mmsegmentation's, whole tensors."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.errors import UserError
from maekit.segmentation.head.fcn import FCNHead
from maekit.segmentation.head.four_scales import FourScales
from maekit.segmentation.head.pixel_loss import pixel_cross_entropy
from maekit.segmentation.head.resized_conv import conv_of_resized
from maekit.segmentation.head.upernet import UperHead
from maekit.system.size import HeightWidth
from tests.numeric import SEEDS, assert_float64, assert_fp32, assert_fp32_function, fp32_errors, moved
from tests.segmentation import mmseg_peer

pytestmark = pytest.mark.numeric

D, CHANNELS, CLASSES = 32, 24, 7
GRIDS = [(8, 8), (7, 10)]  # an odd one, too
Grads = dict[str, Tensor]


def _random(module: nn.Module) -> nn.Module:
    """The module with parameters and statistics that no initialisation would give, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(1)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            draws = torch.randn(value.shape, generator=generator)
            size = value[0].numel() if value.dim() > 1 else 1
            value.copy_(draws.abs() + 0.5 if name.endswith("running_var") else draws / size**0.5 + (value.dim() == 1))
    return module


def _maps(grid: tuple[int, int], count: int = 4, batch: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(batch, D, *grid, generator=generator).requires_grad_() for _ in range(count)]


def _labels(grid: tuple[int, int], batch: int = 3) -> Tensor:
    """Labels 16 times as large as the grid, a fifth of the pixels ignored and one image wholly."""
    generator = torch.Generator().manual_seed(3)
    size = (batch, grid[0] * 16, grid[1] * 16)
    labels = torch.randint(CLASSES, size, generator=generator)
    labels[torch.rand(size, generator=generator) < 0.2] = 255
    labels[-1] = 255
    return labels


def _pyramid() -> tuple[nn.Module, nn.Module]:
    return _pair(FourScales(D), mmseg_peer.pyramid(D))


def _uper(dropout: float = 0.1) -> tuple[nn.Module, nn.Module]:
    widths = [D] * 4
    ours = UperHead(widths, CHANNELS, CLASSES, dropout=dropout, classifier_std=0.01)
    return _pair(ours, mmseg_peer.uper_head(widths, CHANNELS, CLASSES, dropout))


def _fcn(num_convs: int = 1) -> tuple[nn.Module, nn.Module]:
    ours = FCNHead(D, 12, CLASSES, num_convs=num_convs, dropout=0.1, classifier_std=0.01)
    return _pair(ours, mmseg_peer.fcn_head(D, 12, CLASSES, num_convs, 0.1))


def _pair(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Both with the same random weights, loaded strictly in both directions."""
    theirs.load_state_dict(_random(ours).state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def _step(module: nn.Module, maps: Sequence[Tensor], loss: Callable[[], Tensor]) -> tuple[Tensor, Grads]:
    """A loss with everything seeded, and the gradients of all parameters and maps, and the buffers after it."""
    torch.manual_seed(5)
    value = loss()
    named = dict(module.named_parameters()) | {f"map {i}": m for i, m in enumerate(maps)}
    gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    found = {name: g for name, g in zip(named, gradients, strict=True) if g is not None}
    return value.detach(), found | {n: b.clone() for n, b in module.named_buffers() if b.is_floating_point()}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("training", [False, True])
def test_the_pyramid_equals_mmsegmentations(grid: tuple[int, int], training: bool) -> None:
    ours, theirs = (module.train(training) for module in _pyramid())
    maps = _maps(grid)
    got, expected = ours(maps), theirs(maps)
    assert [tuple(m.shape[2:]) for m in got] == [(int(grid[0] * s), int(grid[1] * s)) for s in (4, 2, 1, 0.5)]
    for mine, other in zip(got, expected, strict=True):
        assert_float64(mine, other)
    weights = [torch.randn(m.shape) for m in got]
    steps = [
        _step(m, maps, lambda m=m: sum((o * w).sum() for o, w in zip(m(maps), weights, strict=True)))  # type: ignore[misc]
        for m in (ours, theirs)
    ]
    assert_float64(steps[0][1], steps[1][1])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("grid", GRIDS)
def test_logits_equal_mmsegmentations_in_evaluation(grid: tuple[int, int]) -> None:
    sizes = [(grid[0] * 4, grid[1] * 4), (grid[0] * 2, grid[1] * 2), grid, (grid[0] // 2, grid[1] // 2)]
    maps = [_maps(size, 1, batch=1)[0] for size in sizes]
    ours, theirs = (module.eval() for module in _uper())
    got, expected = ours(maps), theirs(maps)
    assert got.shape == (1, CLASSES, *sizes[0])
    assert_float64(got, expected)
    for num_convs in (1, 2):
        ours, theirs = (module.eval() for module in _fcn(num_convs))
        assert_float64(ours(maps[2]), theirs(maps[2:3]))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("grid", GRIDS)
def test_a_training_step_equals_mmsegmentations(grid: tuple[int, int]) -> None:
    """Pyramid, decoder and auxiliary head with dropout: loss, statistics and every gradient."""
    labels, maps = _labels(grid), _maps(grid)
    (neck, their_neck), (head, their_head), (aux, their_aux) = _pyramid(), _uper(), _fcn()

    def our_loss(modules: nn.ModuleList, maps: list[Tensor]) -> Tensor:
        neck, head, aux = modules
        scales = neck(maps)
        return pixel_cross_entropy(head(scales), labels) + 0.4 * pixel_cross_entropy(aux(scales[2]), labels)

    def their_loss() -> Tensor:
        scales = their_neck(maps)
        main = mmseg_peer.loss_of(their_head, their_head(scales), labels)
        return main + 0.4 * mmseg_peer.loss_of(their_aux, their_aux(scales[2:3]), labels)

    def ours(values: list[Tensor]) -> Grads:
        modules = copy.deepcopy(nn.ModuleList([neck, head, aux])).train()  # each step moves the statistics
        loss, gradients = _step(modules, values, lambda: our_loss(modules, values))
        return gradients | {"loss": loss}

    found = ours(maps)
    modules = nn.ModuleList([their_neck, their_head, their_aux]).train()
    expected, their_gradients = _step(modules, maps, their_loss)
    errors = fp32_errors(found, [ours([moved(m.detach(), seed).requires_grad_() for m in maps]) for seed in SEEDS])
    assert all(f"map {i}" in found for i in range(4))
    assert found.keys() == their_gradients.keys() | {"loss"}
    for name, value in (their_gradients | {"loss": expected}).items():  # the losses are computed in fp32
        assert_fp32(found[name], value, errors[name], name)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("small", "size"), [((4, 4), (8, 8)), ((3, 5), (8, 11)), ((1, 1), (4, 3)), ((6, 6), (4, 4))])
def test_taps_before_resizing_equal_resizing_before_the_convolution(
    small: tuple[int, int], size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, width, *small, dtype=torch.float64, generator=generator) for width in (5, 3)]
    weights = [torch.randn(4, width, 3, 3, dtype=torch.float64, generator=generator) for width in (5, 3)]
    resized = [F.interpolate(image, size, mode="bilinear", align_corners=False) for image in maps]
    expected = sum(F.conv2d(image, weight, padding=1) for image, weight in zip(resized, weights, strict=True))
    assert isinstance(expected, Tensor)
    assert_float64(conv_of_resized(maps, weights, HeightWidth(*size)), expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("small", "size"), [((8, 6), (32, 24)), ((5, 7), (37, 23)), ((33, 30), (17, 40))])
def test_the_loss_and_its_gradient_equal_those_of_resized_logits(
    small: tuple[int, int], size: tuple[int, int], weighted: bool
) -> None:
    """In float64 and written out, also where the sizes do not divide one another and where nothing counts."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, CLASSES, *small, generator=generator).mul_(3).requires_grad_()
    labels = torch.randint(CLASSES, (2, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = 255
    resized = F.interpolate(logits.double(), size, mode="bilinear", align_corners=False)
    true = F.one_hot(labels.clamp(max=CLASSES), CLASSES + 1)[..., :CLASSES]
    weights = torch.arange(1, CLASSES + 1, dtype=torch.float32) / 4 if weighted else None
    each = 1 if weights is None else weights[:, None, None]
    expected = -(resized.log_softmax(1) * true.permute(0, 3, 1, 2) * each).sum() / labels.numel()
    assert_fp32_function(lambda values: pixel_cross_entropy(values, labels, weights=weights), [logits], expected)

    def gradient(values: Tensor) -> Tensor:
        values = values.detach().requires_grad_()
        return torch.autograd.grad(pixel_cross_entropy(values, labels, weights=weights) * 3.0, values)[0]

    assert_fp32_function(gradient, [logits], torch.autograd.grad(expected * 3.0, logits)[0])
    nothing = pixel_cross_entropy(logits, torch.full_like(labels, 255))
    assert nothing.item() == 0
    assert not torch.autograd.grad(nothing, logits)[0].any()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_the_height_of_the_strips_does_not_matter(rows: int) -> None:
    """An accelerator takes one strip for all rows."""
    logits, labels = torch.randn(2, CLASSES, 9, 8).requires_grad_(), torch.randint(CLASSES, (2, 40, 32))
    expected = pixel_cross_entropy(logits, labels)
    loss = pixel_cross_entropy(logits, labels, strip_values=rows * 32 * CLASSES)
    assert_fp32(loss, expected)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    assert_fp32(gradients[0], gradients[1])


def test_another_label_can_be_ignored_and_half_precision_is_computed_in_float32() -> None:
    logits, labels = torch.randn(2, CLASSES, 4, 4), torch.randint(CLASSES, (2, 16, 16))
    others = labels.where(labels != 3, 255)
    losses = pixel_cross_entropy(logits, labels, ignore=3), pixel_cross_entropy(logits, others)
    torch.testing.assert_close(*losses, rtol=0, atol=0)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = pixel_cross_entropy(half, labels)
    torch.testing.assert_close(loss, pixel_cross_entropy(half.float(), labels), rtol=0, atol=0)
    assert torch.autograd.grad(loss, half)[0].dtype == torch.bfloat16


def test_initial_weights_are_distributed_as_mmsegmentations() -> None:
    torch.manual_seed(0)
    width = 96
    pairs = [
        (FourScales(width), mmseg_peer.pyramid(width)),
        (
            UperHead([width] * 4, width, 50, dropout=0.1, classifier_std=0.01),
            mmseg_peer.uper_head([width] * 4, width, 50, 0.1),
        ),
        (FCNHead(width, width, 50, dropout=0.1, classifier_std=0.01), mmseg_peer.fcn_head(width, width, 50, 1, 0.1)),
    ]
    for ours, theirs in pairs:
        expected = theirs.state_dict()
        for name, value in ours.state_dict().items():
            if value.dim() > 1:  # 4800 draws or more: the deviation's standard error is 1 %
                assert value.std().item() == pytest.approx(expected[name].std().item(), rel=0.06), name
                assert value.mean().item() == pytest.approx(0, abs=0.06 * value.std().item()), name
                tails = [tensor.abs().max().item() for tensor in (value, expected[name])]  # a normal or a uniform one
                assert tails[0] == pytest.approx(tails[1], rel=0.3), name
            elif name.startswith("upsample") and not name.startswith("upsample_4x.1"):
                assert 0 < value.abs().max() <= expected[name].abs().max() * 1.2, name  # the deconvolutions' biases
            else:
                assert torch.equal(value, expected[name]), name


def test_bfloat16_autocast_is_as_near_to_float32_as_mmsegmentations_is() -> None:
    ours, theirs = (module.eval() for module in _uper())
    maps = [_maps(size, 1)[0] for size in ((32, 32), (16, 16), (8, 8), (4, 4))]
    exact = theirs(maps)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [(module(maps) - exact).square().mean().sqrt().item() for module in (ours, theirs)]
    assert 0 < errors[0] < 1.1 * errors[1]


def test_training_on_one_image_is_refused_in_one_line_and_evaluation_is_not() -> None:
    head = UperHead([D] * 4, CHANNELS, CLASSES, dropout=0.1, classifier_std=0.01)
    maps = [torch.randn(1, D, size, size) for size in (16, 8, 4, 2)]
    with pytest.raises(UserError) as caught:
        head.train()(maps)
    assert str(caught.value) == (
        "got a device batch of 1, expected 2 or more, which BatchNorm needs where an image is pooled to one pixel; "
        "set --data.device_batch_size"
    )
    assert head.eval()(maps).shape == (1, CLASSES, 16, 16)


def test_every_parameter_is_used() -> None:
    """One that is not would break DDP."""
    neck, head = FourScales(D), UperHead([D] * 4, CHANNELS, CLASSES, dropout=0.0, classifier_std=0.01)
    head(neck(_maps((4, 4)))).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for module in (neck, head) for p in module.parameters())
