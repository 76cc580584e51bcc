from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from maekit.errors import UserError
from maekit.segmentation import windows
from maekit.segmentation.windows import predict_labels, resized_logits, resized_strips, scaled_size, slide
from maekit.system.size import HeightWidth
from tests.numeric import STEP, assert_fp32_function, assert_half
from tests.segmentation.mmseg_peer import mmseg_module

pytestmark = pytest.mark.numeric

NUM_CLASSES = 6
WINDOW, STRIDE = HeightWidth(32, 40), HeightWidth(21, 27)
Size = tuple[int, int]


def _image(height: int, width: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))


def _network(windows: Tensor) -> Tensor:
    """Logits that depend on the neighbourhood and on the place in the window, as a transformer's do."""
    generator = torch.Generator().manual_seed(1)
    filters = torch.randn(NUM_CLASSES, 3, 5, 5, generator=generator)
    ramp = torch.linspace(-1, 1, windows.shape[-1]) * torch.linspace(0, 2, windows.shape[-2])[:, None]
    return F.conv2d(windows, filters, padding=2).tanh() * 3 + ramp * torch.arange(NUM_CLASSES)[:, None, None]


def _slide(image: Tensor, window: Size = WINDOW, stride: Size = STRIDE, batch: int = 4) -> Tensor:
    sizes = {"window": HeightWidth(*window), "stride": HeightWidth(*stride)}
    return slide(_network, image, num_classes=NUM_CLASSES, batch=batch, **sizes)


def _labels(image: Tensor, size: Size, **views: Any) -> Tensor:
    options: dict[str, Any] = {"num_classes": NUM_CLASSES, "window": WINDOW, "stride": STRIDE, "batch": 3}
    return predict_labels(_network, image, size=HeightWidth(*size), **options, **views)


def _peer_slide(image: Tensor, window: Size, stride: Size) -> Tensor:
    """mmsegmentation's sliding with our network: logits [1, C, H, W]."""
    peer = mmseg_module("mmseg.models.segmentors").EncoderDecoder
    stub = SimpleNamespace(
        out_channels=NUM_CLASSES,
        test_cfg=SimpleNamespace(stride=stride, crop_size=window),
        encode_decode=lambda crop, _: _network(crop),
    )
    logits: Tensor = peer.slide_inference(stub, image[None], [{}])
    return logits


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [
        ((70, 53), (32, 32), (21, 21)),  # ragged in both
        ((32, 32), (32, 32), (21, 21)),  # one window
        ((32, 97), (32, 40), (21, 27)),  # one row of oblong windows
        ((101, 40), (32, 40), (21, 27)),  # one column
        ((33, 41), (32, 40), (32, 40)),  # a pixel over
        ((64, 80), (32, 40), (32, 40)),  # no overlap
        ((45, 61), (17, 40), (1, 7)),  # much overlap
    ],
)
def test_sliding_equals_mmsegmentations(size: Size, window: Size, stride: Size, batch: int) -> None:
    image = _image(*size)
    assert _slide(image, window, stride, batch).dtype == torch.float32
    expected = _peer_slide(image, window, stride)[0]
    assert_fp32_function(lambda values: _slide(values, window, stride, batch), [image], expected)


@pytest.mark.filterwarnings("ignore:The shape of value will convert")
@pytest.mark.parametrize("view", [(1.0,), (0.5, 1.0, 1.75), (0.3, 0.5, 1.75)], ids=str)
@pytest.mark.parametrize("flip", [False, True])
def test_views_are_averaged_as_mmsegmentations_test_time_augmentation(view: tuple[float, ...], flip: bool) -> None:
    """Its sliding, its flipping back and resizing (postprocess_result), its average of views (merge_preds)."""
    base = mmseg_module("mmseg.models.segmentors.base").BaseSegmentor
    tta = mmseg_module("mmseg.models.segmentors.seg_tta").SegTTAModel
    sample = mmseg_module("mmseg.structures").SegDataSample
    image, size = _image(50, 90), (71, 131)
    # 0.3 and 0.5 are held at 0.64, where the height is the window's.
    sizes = {0.3: (32, 58), 0.5: (32, 58), 1.0: (50, 90), 1.75: (88, 158)}
    stub = SimpleNamespace(align_corners=False, out_channels=NUM_CLASSES)
    views = []
    for scale in view:
        resized = F.interpolate(image[None], sizes[scale], mode="bilinear", align_corners=False)[0]
        for mirrored in (False, True) if flip else (False,):
            logits = _peer_slide(resized.flip(-1) if mirrored else resized, WINDOW, (21, 27))
            meta = {"ori_shape": size, "flip": mirrored, "flip_direction": "horizontal", "img_path": ""}
            views.append(base.postprocess_result(stub, logits, [sample(metainfo=meta)])[0])
    merged = tta.merge_preds(SimpleNamespace(module=stub), [views])[0].pred_sem_seg.data
    ours = _labels(image, size, scales=view, flip=flip)
    assert ours.dtype == torch.int64
    assert len(set(ours.flatten().tolist())) > 3
    assert (ours != merged.squeeze()).float().mean() < 1e-3  # two classes may be equal up to rounding


def test_a_window_of_the_images_size_is_the_whole_image() -> None:
    image = _image(*WINDOW)
    torch.testing.assert_close(_slide(image), _network(image[None])[0], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(20, 30), (20, 90), (50, 30), (1, 1)])
def test_a_short_side_is_padded_with_zeros_and_cropped_back(size: Size) -> None:
    image = _image(*size)
    padded = torch.zeros(3, max(size[0], WINDOW[0]), max(size[1], WINDOW[1]))
    padded[:, : size[0], : size[1]] = image
    ours = _slide(image)
    assert ours.shape == (NUM_CLASSES, *size)
    torch.testing.assert_close(ours, _slide(padded)[:, : size[0], : size[1]], rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("stride", [(32, 40), (21, 27), (5, 40), (1, 9)])
def test_what_looks_at_one_pixel_does_not_depend_on_the_stride(stride: Size) -> None:
    image = _image(67, 95)
    weight = torch.randn(NUM_CLASSES, 3, generator=torch.Generator().manual_seed(2))

    def pixelwise(windows: Tensor) -> Tensor:
        return torch.einsum("kc,nchw->nkhw", weight, windows)

    def ours(values: Tensor) -> Tensor:
        return slide(pixelwise, values, num_classes=NUM_CLASSES, window=WINDOW, stride=HeightWidth(*stride), batch=4)

    assert_fp32_function(ours, [image], torch.einsum("kc,chw->khw", weight, image))


def test_half_precision_logits_are_summed_in_fp32() -> None:
    image = _image(70, 90)
    half = slide(
        lambda windows: _network(windows).bfloat16(),
        image,
        num_classes=NUM_CLASSES,
        window=WINDOW,
        stride=HeightWidth(4, 4),
        batch=4,
    )
    assert half.dtype == torch.float32
    assert_half(half, _slide(image, stride=(4, 4)))


def test_windows_come_at_most_a_batch_at_a_time() -> None:
    sizes = []

    def counted(windows: Tensor) -> Tensor:
        sizes.append(len(windows))
        return _network(windows)

    slide(counted, _image(70, 90), num_classes=NUM_CLASSES, window=WINDOW, stride=STRIDE, batch=4)
    assert sizes == [4, 4, 1]


@pytest.mark.parametrize("size", [(40, 50), (97, 31), (20, 333), (1, 1), (7, 50), (40, 51)])
@pytest.mark.parametrize("values", [2**24, 3000, 1])
def test_strips_equal_the_whole(size: Size, values: int) -> None:
    logits = 4 * torch.randn(NUM_CLASSES, 40, 50, generator=torch.Generator().manual_seed(3))
    strips = list(resized_strips(logits, HeightWidth(*size), values))
    assert [row for rows, _ in strips for row in range(rows.start, rows.stop)] == list(range(size[0]))
    assert all(strip[0].numel() <= max(values // NUM_CLASSES, size[1]) for _, strip in strips)
    whole = resized_logits(logits, HeightWidth(*size))
    assert whole.shape == (NUM_CLASSES, *size)
    # torch has kernels that differ in the last bit of a row's position, which is up to 50
    steps = max(logits.diff(dim=dim).abs().max().item() for dim in (1, 2))
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], 1), whole, rtol=0, atol=50 * STEP * steps)


def test_labels_in_strips_are_the_best_of_the_resized_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    image, size = _image(50, 90), HeightWidth(123, 201)
    best = resized_logits(_slide(image), size).argmax(0)
    monkeypatch.setattr(windows, "resized_logits", _never_whole(size))
    ours = _labels(image, size, strip_values=5000)
    assert (ours != best).float().mean() < 1e-3
    assert len(set(best.flatten().tolist())) == NUM_CLASSES


def _never_whole(size: HeightWidth) -> Any:
    def checked(logits: Tensor, to: HeightWidth) -> Tensor:
        assert to.height < size.height // 4, "a map of all classes at the file's size"
        return resized_logits(logits, to)

    return checked


@pytest.mark.parametrize(
    ("size", "scale", "window", "expected"),
    [
        ((512, 683), 0.5, (512, 512), (512, 683)),
        ((600, 800), 0.5, (512, 512), (512, 683)),
        ((800, 600), 1.75, (512, 512), (1400, 1050)),
        ((400, 1000), 0.75, (512, 512), (400, 1000)),
        ((400, 1000), 1.5, (512, 512), (600, 1500)),
        ((600, 1000), 0.5, (300, 900), (540, 900)),
    ],
)
def test_no_scale_makes_a_side_shorter_than_the_window(size: Size, scale: float, window: Size, expected: Size) -> None:
    assert scaled_size(HeightWidth(*size), scale, HeightWidth(*window)) == expected


def test_scales_held_at_one_size_run_once_and_count_each() -> None:
    image = _image(*WINDOW)
    seen = []

    def counted(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return _network(windows)

    options: dict[str, Any] = {"size": WINDOW, "num_classes": NUM_CLASSES, "window": WINDOW, "stride": WINDOW}
    predict_labels(counted, image, batch=1, scales=(0.5, 0.75, 1.0), flip=True, **options)
    assert seen == [1, 1]


def test_the_model_keeps_no_graph() -> None:
    image = _image(40, 60).requires_grad_()
    assert not _slide(image).requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": (33, 27)}, "got a stride of 33 x 27 for a window of 32 x 40 pixels, expected 1 to"),
        ({"stride": (21, 0)}, "got a stride of 21 x 0 for a window"),
        ({"batch": 0}, "got 0 windows at once, expected 1 or more"),
    ],
)
def test_bad_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        _slide(_image(70, 90), **options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_bad_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"^got scales \[.*\], expected one or more, each above 0; change the scales$"):
        _labels(_image(70, 90), (70, 90), scales=scales)


def test_logits_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got logits \(4, 6, 16, 20\), expected \(4, 6, 32, 40\)"):
        slide(
            lambda windows: _network(windows)[:, :, ::2, ::2],
            _image(70, 90),
            num_classes=NUM_CLASSES,
            window=WINDOW,
            stride=STRIDE,
            batch=4,
        )
