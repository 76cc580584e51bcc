"""The fast path of training images: the exact path's draws, and pixels within a fraction of a level of Pillow's."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment
from torch import Tensor

from maekit.base.data import seeded
from maekit.base.spec import Draw
from maekit.data.augment import faster_ops
from maekit.data.augment.augment import Augmentation, TrainTransform, crop_resize, random_crop_box
from maekit.data.augment.faster_ops import sharpness
from maekit.data.augment.rand_augment import RandAugment, apply
from maekit.data.folder_dataset import FolderDataset
from maekit.data.folders.listing import Listing, list_classes
from maekit.data.images.batch import Sample
from maekit.data.images.decode import read_image
from maekit.data.images.transforms import BICUBIC, EvalTransform
from maekit.data.loader import make_loader
from maekit.data.sampler import EvalSampler
from maekit.system.size import HeightWidth
from tests.data.helpers import COLOURS, PHOTOGRAPHS, as_pixels

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
POLICY = "rand-m9-mstd0.5-inc1"


def transform(
    size: int = 64, *, policy: str | None = POLICY, erasing: float = 0.5, clip: bool = False
) -> TrainTransform:
    return TrainTransform(
        Augmentation(
            image_size=size,
            crop_scale=[0.08, 1.0],
            crop_ratio=[3 / 4, 4 / 3],
            crop_clip=clip,
            horizontal_flip=0.5,
            rand_augment=policy,
            random_erasing=erasing,
            mean=MEAN,
            std=STD,
        )
    )


# Resizing


def test_crops_are_within_two_levels_of_pillows_on_average() -> None:
    """Over and under the target's size, 60 boxes: each within half a level, where two are asked for."""
    random.seed(0)
    shares = []
    for number in range(60):
        image = PHOTOGRAPHS[number % 2]
        scale = ((0.02, 0.1), (0.3, 1.0))[number // 2 % 2]
        box = random_crop_box(HeightWidth(image.height, image.width), scale, (3 / 4, 4 / 3))
        shares.append((box[2] - box[0]) / 224)
        expected = np.asarray(image.crop(box).resize((224, 224), BICUBIC)).astype(int)
        found = crop_resize(as_pixels(image), box, 224)
        assert (found.shape, found.dtype, found.is_contiguous()) == ((224, 224, 3), torch.uint8, True)
        assert np.abs(found.numpy() - expected).mean() <= 0.5
    assert sum(share < 1 for share in shares) >= 20
    assert sum(share > 1.5 for share in shares) >= 20


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 500), (3, 2)])
def test_the_smallest_images_pass(size: tuple[int, int]) -> None:
    pixels = as_pixels(COLOURS.resize(size))
    for index in range(30):
        with seeded(0, 0, index):
            assert transform(32)(pixels).shape == (3, 32, 32)


# Operations


@pytest.mark.parametrize(
    ("own", "timms", "largest"),
    [
        (faster_ops.shear_x, auto_augment.shear_x, 0.3),
        (faster_ops.shear_y, auto_augment.shear_y, 0.3),
        (faster_ops.translate_x, auto_augment.translate_x_rel, 0.45),
        (faster_ops.translate_y, auto_augment.translate_y_rel, 0.45),
        (sharpness, auto_augment.sharpness, 1.9),
    ],
)
def test_faster_operations_give_timms_pixels(own: Any, timms: Any, largest: float) -> None:
    options = {"fillcolor": (124, 116, 104), "resample": BICUBIC}
    rng = random.Random(0)
    for size in [(224, 224), (97, 211), (32, 32), (3, 2), (2, 3), (1, 1), (1, 40)]:
        for image in (PHOTOGRAPHS[0].resize(size), PHOTOGRAPHS[1].crop((100, 100, 100 + size[0], 100 + size[1]))):
            # Both compute in double precision and cut off. A cubic of a round factor often gives a whole number but for
            # rounding, which decides then; factors as they are drawn hardly ever do.
            for factor, share in ((0.1, 0.01), (largest, 0.01), (rng.uniform(0, largest), 0), (rng.random() / 4, 0)):
                for argument in {factor, factor if own is sharpness else -factor}:
                    expected = np.asarray(timms(image, argument, **options)).astype(int)
                    difference = np.abs(np.asarray(own(image, argument, **options)) - expected)
                    assert difference.max() <= 1
                    assert (difference > 0).sum() <= max(1, share * difference.size)


def test_posterizing_to_no_bits_is_black() -> None:
    """Magnitude 10 leaves none; Pillow 13 refuses that, which would end a run by chance; Pillow 12 gives black."""
    augment = RandAugment("rand-m10-n1-p1-inc1", MEAN)
    names = [op.name for op in augment.timm.ops]
    place = names.index("PosterizeIncreasing")
    for choice in (augment.timm, augment.recorder):
        choice.ops = [choice.ops[place]]
    assert not np.asarray(augment(COLOURS)).any()
    assert not apply(augment.draw(), as_pixels(COLOURS)).any()


# Draws


def drawn(name: str, calls: list[Any], function: Any) -> Any:
    def spy(image: Any, *arguments: Any, **options: Any) -> Any:
        calls.append((name, arguments, options))
        return function(image, *arguments, **options)

    return spy


def spied(fast: bool, monkeypatch: pytest.MonkeyPatch, clip: bool) -> tuple[TrainTransform, list[Any]]:
    """A transform, and the list of what it draws: boxes, operations with their arguments, erased pixels."""
    calls: list[Any] = []
    spying = transform(clip=clip)
    augment, crop_box, erase = spying.augment, spying.crop_box, spying.erase
    assert augment is not None
    assert erase is not None
    for timms, noted in zip(augment.timm.ops, augment.recorder.ops, strict=True):
        if fast:
            operation = noted.aug_fn.args[0]
            noted.aug_fn = type(noted.aug_fn)(noted.aug_fn.func, drawn(timms.name, calls, operation))
        else:
            timms.aug_fn = drawn(timms.name, calls, timms.aug_fn)

    def box(*arguments: Any) -> Any:
        calls.append(crop_box(*arguments))
        return calls[-1]

    def erased(tensor: Tensor) -> Tensor:
        before = tensor.clone()
        after = erase(tensor)
        changed = (after != before).any(0)
        calls.append((changed.nonzero().tolist(), after[:, changed].tolist()))
        return after

    monkeypatch.setattr(spying, "crop_box", box)
    monkeypatch.setattr(spying, "erase", erased)
    return spying, calls


@pytest.mark.parametrize("clip", [False, True])
def test_both_paths_draw_the_same(clip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for fast in (False, True):
        spying, calls = spied(fast, monkeypatch, clip)
        for index in range(120):
            image = PHOTOGRAPHS[index % 2].resize((90 + index, 80))
            with seeded(0, 0, index):
                spying(as_pixels(image) if fast else image)
                calls.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
        found.append(calls)
    assert found[0] == found[1]
    assert len({call[0] for call in found[0] if isinstance(call[0], str)}) == 15  # each operation was drawn
    assert sum(len(call) == 2 and bool(call[0]) for call in found[0]) > 30  # and boxes erased


@pytest.mark.parametrize("policy", [None, POLICY])
def test_both_paths_give_the_same_picture(policy: str | None) -> None:
    """A missed flip or a wrong channel is tens of levels; operations may carry a level of the resize further."""
    both = transform(224, policy=policy, erasing=0.25)
    differences = []
    for index in range(30):
        image = PHOTOGRAPHS[index % 2]
        with seeded(0, 0, index):
            exact = both(image)
        with seeded(0, 0, index):
            fast = both(as_pixels(image))
        assert (fast.shape, fast.dtype, fast.is_contiguous()) == ((3, 224, 224), torch.float32, True)
        levels = (fast - exact).abs().mul(torch.tensor(STD).view(3, 1, 1) * 255)
        differences.append(float(levels.mean()))
    assert max(differences) < (0.5 if policy is None else 4)
    assert sorted(differences)[15] < 0.5


def test_normalising_planes_is_normalising_an_image() -> None:
    normalise = EvalTransform(image_size=8, crop_fraction=1.0, mean=MEAN, std=STD).normalise
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    planes = normalise.planes(torch.from_numpy(ramp).permute(2, 0, 1).contiguous())
    torch.testing.assert_close(planes, normalise(Image.fromarray(ramp)), rtol=0, atol=1e-6)
    assert planes.is_contiguous()


# Data sets and loaders


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    root = tmp_path_factory.mktemp("photographs")
    (root / "a").mkdir()
    for number, box in enumerate([(0, 0, 300, 200), (100, 50, 220, 300), (300, 100, 600, 400)]):
        PHOTOGRAPHS[number % 2].crop(box).save(root / "a" / f"{number}.jpg")
    COLOURS.convert("CMYK").save(root / "a" / "3.jpg")
    return list_classes(root, ("a",))


def samples(dataset: FolderDataset) -> list[Sample]:
    return [dataset[Draw(1, index)] for index in range(4)]


def test_the_decoder_changes_the_resize_alone(listing: Listing) -> None:
    plain = transform(policy=None)
    slow, fast = (samples(FolderDataset(listing, plain, 0, decoder=d)) for d in ("pillow", "fast"))
    for one, other in zip(slow, fast, strict=True):
        assert one[1:] == other[1:]
        assert not torch.equal(one[0], other[0])
        assert float((one[0] - other[0]).abs().mean()) < 0.02


def test_evaluation_is_pillows_whatever_the_decoder(listing: Listing) -> None:
    evaluation = EvalTransform(image_size=32, crop_fraction=0.875, mean=MEAN, std=STD)
    for index in range(4):
        expected = evaluation(read_image(listing.path(index)))
        assert torch.equal(FolderDataset(listing, evaluation, None, decoder="fast")[Draw(0, index)][0], expected)


def test_a_fast_data_set_pickles(listing: Listing) -> None:
    dataset = FolderDataset(listing, transform(), 3, decoder="fast")
    for one, other in zip(samples(dataset), samples(pickle.loads(pickle.dumps(dataset))), strict=True):
        assert torch.equal(one[0], other[0])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_same_pictures_however_started(listing: Listing, start: str) -> None:
    dataset = FolderDataset(listing, transform(policy=None, erasing=0), 3, decoder="fast")
    loader = make_loader(dataset, EvalSampler(4, 0, 1), 2, 1, pin=False)
    loader.multiprocessing_context = start
    found = torch.cat([batch.image for batch in loader])
    assert torch.equal(found, torch.stack([dataset[Draw(0, index)][0] for index in range(4)]))


def test_a_worker_forked_after_threads_were_used_does_not_hang(listing: Listing, tmp_path: Path) -> None:
    """The parent's pool of threads does not come along into a fork; a worker that waited for it would never answer."""
    script = tmp_path / "forked.py"
    script.write_text(
        "import pickle, sys, torch\n"
        "from maekit.data.loader import make_loader\n"
        "from maekit.data.sampler import EvalSampler\n"
        "dataset = pickle.load(open(sys.argv[1], 'rb'))\n"
        "torch.set_num_threads(2)\n"
        "torch.randn(1000, 1000) @ torch.randn(1000, 1000)\n"
        "torch.nn.functional.interpolate(torch.randn(8, 3, 256, 256), (224, 224), mode='bicubic', antialias=True)\n"
        "loader = make_loader(dataset, EvalSampler(4, 0, 1), 2, 2, pin=False)\n"
        "loader.multiprocessing_context = 'fork'\n"
        "print(sum(len(batch.image) for batch in loader), torch.get_num_threads())\n"
    )
    (tmp_path / "dataset").write_bytes(
        pickle.dumps(FolderDataset(listing, transform(policy=None, erasing=0), 3, decoder="fast"))
    )
    command = [sys.executable, str(script), str(tmp_path / "dataset")]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (ended.returncode, ended.stdout) == (0, "4 2\n"), ended.stderr
