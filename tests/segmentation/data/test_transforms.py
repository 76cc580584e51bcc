"""Images with label maps on their way to tensors: mmsegmentation's arrays where the draws are the same."""

import importlib
import pickle
import random
import types
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.data import seeded
from maekit.errors import UserError
from maekit.segmentation.data.transforms.photometric import Distortion, distort
from maekit.segmentation.data.transforms.resize import evaluation_size, fitted_size, one_thread
from maekit.segmentation.data.transforms.settings import SegAugmentation
from maekit.segmentation.data.transforms.transforms import SegEvalTransform, SegTrainTransform
from maekit.system.size import HeightWidth
from tests.segmentation import mmseg_peer

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
RNG = np.random.default_rng(0)
NUMBERS: dict[str, Any] = {
    "crop_size": 64,
    "resize": [256, 64],
    "resize_ratio": [0.5, 2.0],
    "cat_max_ratio": 0.75,
    "horizontal_flip": 0.0,
    "photometric": True,
    "mean": MEAN,
    "std": STD,
}


def train_transform(changes: dict[str, Any] | None = None) -> SegTrainTransform:
    return SegTrainTransform(SegAugmentation(**{**NUMBERS, **(changes or {})}))


PEERS = {
    "mmcv": "mmcv",
    "plain": "mmcv.transforms",
    "seg": "mmseg.datasets.transforms.transforms",
    "finish": "mmseg.models.data_preprocessor",
    "structures": "mmseg.structures",
    "pixels": "mmengine.structures",
}


@pytest.fixture(scope="module")
def mm() -> types.SimpleNamespace:
    """mmsegmentation's and mmcv's modules."""
    mmseg_peer.mmseg()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return types.SimpleNamespace(**{name: importlib.import_module(module) for name, module in PEERS.items()})


def sample(height: int, width: int, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image, and a label map of large patches, some of them ignored."""
    image = cv2.resize(RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    patches = RNG.integers(0, classes, (4, 4)).astype(np.uint8)
    patches[patches == classes - 1] = 255
    return np.asarray(image), np.asarray(cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST))


def lend(monkeypatch: pytest.MonkeyPatch, stream: random.Random) -> None:
    """Lets NumPy's global functions draw from a stream of Python's."""
    monkeypatch.setattr(np.random, "random_sample", lambda: stream.random())
    monkeypatch.setattr(np.random, "uniform", stream.uniform)
    monkeypatch.setattr(np.random, "randint", lambda a, b=None: stream.randrange(*((a,) if b is None else (a, b))))


def same_stream(seed: int) -> random.Random:
    """The stream that a transform makes for itself under `random.seed(seed)`, after Compose's own draw."""
    stream = random.Random(random.Random(seed).getrandbits(64))
    stream.getrandbits(64)
    stream.random()
    return stream


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_training_is_mmsegmentations(mm: Any, flip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = train_transform({"horizontal_flip": flip})
    theirs = [
        mm.plain.RandomResize(scale=(256, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
        mm.seg.RandomCrop(crop_size=(64, 64), cat_max_ratio=0.75),
        mm.plain.RandomFlip(prob=flip),
        mm.seg.PhotoMetricDistortion(),
    ]
    finish = mm.finish.SegDataPreProcessor(
        [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], size=(64, 64), bgr_to_rgb=True, pad_val=0, seg_pad_val=255
    )
    padded = 0
    for seed in range(60):
        image, label = sample(*RNG.integers(40, 160, 2).tolist())
        random.seed(seed)
        picture, target = ours(image, label)
        with monkeypatch.context() as patch:
            lend(patch, same_stream(seed))
            results: dict[str, Any] = {
                "img": np.ascontiguousarray(image[..., ::-1]),
                "gt_seg_map": label,
                "seg_fields": ["gt_seg_map"],
            }
            for step in theirs:
                results = step.transform(results)
        data = mm.structures.SegDataSample()
        inputs = torch.from_numpy(np.ascontiguousarray(results["img"].transpose(2, 0, 1)))
        data.set_data(
            {"gt_sem_seg": mm.pixels.PixelData(data=torch.from_numpy(results["gt_seg_map"].copy())[None].long())}
        )
        done = finish({"inputs": [inputs], "data_samples": [data]}, training=True)
        assert torch.equal(target, done["data_samples"][0].gt_sem_seg.data[0])
        torch.testing.assert_close(picture, done["inputs"][0], rtol=0, atol=2e-6)
        padded += min(inputs.shape[1:]) < 64
    assert 5 < padded < 55


def test_sizes_and_resized_images_are_mmcvs(mm: Any) -> None:
    for _ in range(300):
        width, height = (int(2 ** RNG.uniform(4, 12)) for _ in range(2))
        box = (int(RNG.integers(100, 4096)), int(RNG.integers(100, 1024)))
        expected = tuple(max(1, side) for side in mm.mmcv.rescale_size((width, height), box))
        assert fitted_size(HeightWidth(height, width), box) == expected[::-1]
    transform = SegEvalTransform(resize=[256, 64], min_side=64, mean=MEAN, std=STD)
    for height, width in ((50, 80), (200, 64), (64, 64), (33, 131)):
        image, _ = sample(height, width)
        reference = mm.mmcv.imrescale(image, (256, 64)).astype(np.float32) / 255
        expected = ((reference - np.array(MEAN)) / np.array(STD)).astype(np.float32).transpose(2, 0, 1)
        torch.testing.assert_close(transform(Image.fromarray(image)), torch.from_numpy(expected), rtol=0, atol=2e-6)


def test_every_distortion_is_mmsegmentations(mm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = RNG.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    theirs = mm.seg.PhotoMetricDistortion()
    cases = [
        (Distortion(-32.0, None, True, None, None), [1, -32.0, 1, 0, 0, 0]),
        (Distortion(17.3, 1.5, True, None, None), [1, 17.3, 1, 1, 1.5, 0, 0]),
        (Distortion(None, 0.5, False, 1.37, None), [0, 0, 1, 1.37, 0, 1, 0.5]),
        (Distortion(None, None, False, 0.5, 17), [0, 0, 1, 0.5, 1, 17, 0]),
        (Distortion(31.9, 0.777, False, 1.5, -18), [1, 31.9, 0, 1, 1.5, 1, -18, 1, 0.777]),
    ]
    for drawn, script in cases:
        left = list(script)
        with monkeypatch.context() as patch:
            patch.setattr(np.random, "randint", lambda *_, left=left: left.pop(0))
            patch.setattr(np.random, "uniform", lambda *_, left=left: left.pop(0))
            reference = theirs.transform({"img": np.ascontiguousarray(colours[..., ::-1])})["img"][..., ::-1]
        assert not left
        np.testing.assert_array_equal(distort(colours, drawn), reference)


def ramp(side: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Grows brighter to the right, so that a mirrored one is known; two classes, row after row."""
    row = np.linspace(0, 255, side).astype(np.uint8)
    label = np.repeat((np.arange(side, dtype=np.uint8) % 2)[:, None], side, axis=1)
    return np.repeat(np.repeat(row[None, :, None], side, axis=0), 3, axis=2), label


def test_size_and_mirroring_are_uniform_and_independent() -> None:
    changes = {"crop_size": 200, "resize": [100, 100], "horizontal_flip": 0.3, "photometric": False}
    transform = train_transform(changes)
    image, label = ramp()
    sides, mirrored = [], []
    for index in range(600):
        with seeded(0, 0, index):
            pixels, _ = transform.augment(image, label)
        sides.append(len(pixels))
        mirrored.append(int(pixels[0, 0, 0]) > int(pixels[0, -1, 0]))
    assert abs(np.mean(mirrored) - 0.3) < 0.06  # 3 standard deviations
    assert abs(np.corrcoef(sides, mirrored)[0, 1]) < 0.13
    deciles = np.histogram(sides, bins=10, range=(50, 200))[0]
    assert min(sides) >= 50 and max(sides) <= 200
    assert ((deciles - 60) ** 2 / 60).sum() < 27.9  # chi-squared of 9 degrees, p = 0.001


def test_each_distortion_has_its_probability_and_range() -> None:
    from maekit.segmentation.data.transforms.photometric import draw_distortion

    rng = random.Random(0)
    drawn = [draw_distortion(rng) for _ in range(4000)]
    for name, low, high in (("brightness", -32, 32), ("contrast", 0.5, 1.5), ("saturation", 0.5, 1.5)):
        values = [getattr(d, name) for d in drawn if getattr(d, name) is not None]
        assert abs(len(values) / 4000 - 0.5) < 0.03
        assert low <= min(values) < low + 0.02 * (high - low) and high - 0.02 * (high - low) < max(values) <= high
    assert {d.hue for d in drawn} == {None, *range(-18, 18)}
    assert abs(np.mean([d.contrast_first for d in drawn]) - 0.5) < 0.03


def test_without_randomness_only_padding_is_left() -> None:
    """The order shows: padding is exactly 0, so it came after normalisation."""
    transform = train_transform({"resize": [48, 40], "resize_ratio": [1.0, 1.0], "photometric": False})
    image, label = sample(40, 48)
    picture, target = transform(Image.fromarray(image), label)
    expected = torch.zeros(3, 64, 64)
    expected[:, :40, :48] = torch.from_numpy((image / 255 - MEAN) / STD).permute(2, 0, 1)
    torch.testing.assert_close(picture, expected, rtol=0, atol=2e-6)
    truth = torch.full((64, 64), 255)
    truth[:40, :48] = torch.from_numpy(label)
    assert torch.equal(target, truth)
    assert (picture.dtype, target.dtype) == (torch.float32, torch.int64)


def test_crops_avoid_a_single_class() -> None:
    """A corner of a second class: only crops that hold 16 of its columns or more have less than 0.75 of the first."""
    label = np.zeros((64, 256), np.uint8)
    label[:, 128:] = 1
    image = np.repeat(label[..., None] * np.uint8(200), 3, axis=2)
    shares = {}
    for ratio in (0.75, 1.0):
        transform = train_transform({"resize_ratio": [1.0, 1.0], "cat_max_ratio": ratio})
        found = []
        for index in range(200):
            with seeded(0, 0, index):
                share = transform(image, label)[1].float().mean().item()
            found.append(max(share, 1 - share))
        shares[ratio] = np.mean(np.array(found) < 0.75)
    assert abs(shares[1.0] - 31 / 193) < 0.09
    assert abs(shares[0.75] - (1 - (162 / 193) ** 11)) < 0.09  # the eleventh is taken unseen


@pytest.mark.parametrize(
    ("counts", "varied"),
    [
        ({0: 74, 1: 26}, True),
        ({0: 75, 1: 25}, False),
        ({0: 25, 1: 25, 255: 300}, True),  # what is ignored counts on neither side
        ({0: 80, 1: 20, 255: 300}, False),
        ({3: 100, 255: 20}, False),
        ({255: 100}, False),
    ],
)
def test_what_counts_as_varied(counts: dict[int, int], varied: bool) -> None:
    from maekit.segmentation.data.transforms.joint import is_varied

    label = np.repeat(np.array(list(counts), np.uint8), list(counts.values()))[None]
    assert is_varied(label, 0.75) == varied


def test_a_sample_depends_on_its_seed_alone() -> None:
    transform = train_transform({"horizontal_flip": 0.5})
    image, label = sample(90, 120)

    def draw(epoch: int, index: int) -> torch.Tensor:
        with seeded(3, epoch, index):
            return transform(image, label)[0]

    first = draw(0, 0)
    for _ in range(3):
        draw(0, 1)
    copy = pickle.loads(pickle.dumps(transform))
    assert torch.equal(draw(0, 0), first)
    assert not torch.equal(draw(1, 0), first)
    with seeded(3, 0, 0):
        assert torch.equal(copy(image, label)[0], first)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 683), (512, 683)),
        ((200, 300), (512, 768)),
        ((400, 2000), (512, 2560)),  # the box would leave a short side of 410
        ((2000, 400), (2560, 512)),
        ((1, 5000), (512, 8192)),  # 16 : 1 is the longest
        ((5000, 1), (8192, 512)),
        ((1, 1), (512, 512)),
    ],
)
def test_evaluation_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert evaluation_size(HeightWidth(*size), [2048, 512], 512, None) == expected


def test_a_line_of_pixels_is_evaluated_and_trained_on() -> None:
    """Nothing of 1 x 5,000 pixels grows without bounds, and no side becomes 0."""
    image, label = Image.new("RGB", (5000, 1), (255, 0, 0)), np.zeros((1, 5000), np.uint8)
    whole = SegEvalTransform(resize=[256, 64], min_side=64, mean=MEAN, std=STD, divisor=48)(image)
    assert whole.shape == (3, 96, 1056)
    assert torch.allclose(whole[0], torch.tensor((1 - MEAN[0]) / STD[0]))
    picture, target = train_transform()(image, label)
    assert picture.shape == (3, 64, 64)
    assert (target != 255).sum() > 0


def test_the_evaluation_transform_is_rebuilt_from_plain_values() -> None:
    plain = SegEvalTransform(resize=[256, 64], min_side=64, mean=MEAN, std=STD).describe()
    assert plain == {"resize": [256, 64], "min_side": 64, "divisor": None, "mean": MEAN, "std": STD}
    image = Image.fromarray(sample(70, 90)[0])
    assert torch.equal(
        SegEvalTransform(**plain)(image), SegEvalTransform(resize=(256, 64), min_side=64, mean=MEAN, std=STD)(image)
    )


def test_opencv_starts_no_threads() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    one_thread()
    assert cv2.getNumThreads() == 1
    cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"crop_size": 0}, "data.crop_size: got 0, expected 1 or more pixels"),
        ({"resize": [512]}, "data.resize: got [512], expected the longest and the shortest side in pixels"),
        ({"resize_ratio": [2.0, 0.5]}, "data.resize_ratio: got [2.0, 0.5], expected two numbers above 0"),
        ({"cat_max_ratio": 0.0}, "data.cat_max_ratio: got 0.0, expected above 0 and at most 1"),
        ({"horizontal_flip": 1.5}, "data.horizontal_flip: got 1.5, expected a probability of 0 to 1"),
        ({"std": [0.0, 1.0, 1.0]}, "data.std: got"),
    ],
)
def test_wrong_numbers(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        train_transform(changes)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
