"""Loaders: the same pictures for any number of workers and ranks, however they are started; errors in one line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maekit.base.data import DrawDataset
from maekit.base.spec import Draw
from maekit.classification.data.folders import ClassFolders
from maekit.data.images.batch import ImageBatch, Sample
from maekit.data.loader import (
    choose_prefetch,
    choose_workers,
    make_loader,
    process_cores,
    quota_of,
    usable_cores,
    worker_error_line,
)
from maekit.data.sampler import EvalSampler, TrainSampler
from maekit.errors import UserError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> ClassFolders:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 3)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return ClassFolders(
        root=str(root),
        total_batch_size=8,
        device_batch_size=4,
        image_size=16,
        crop_scale=[0.08, 1.0],
        crop_ratio=[0.75, 1.33],
        horizontal_flip=0.5,
        rand_augment="rand-m9-mstd0.5-inc1",
        random_erasing=0.5,
        eval_crop_fraction=0.875,
        val_fraction=0.1,
        mean=[0.5, 0.5, 0.5],
        std=[0.25, 0.25, 0.25],
    )


def train_batches(data: ClassFolders, workers: int, world: int = 1) -> dict[int, ImageBatch]:
    """Returns each sample's (image, label) of two epochs by (epoch, index), loaded by `world` ranks in turn."""
    found = {}
    for rank in range(world):
        sampler = TrainSampler(18, total_batch=8, device_batch=8 // world // 2, rank=rank, world=world, seed=3)
        loader = make_loader(data.train_dataset(3), sampler, 8 // world // 2, workers, pin=False)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            for batch in loader:
                for image, label, index in zip(*batch, strict=True):
                    found[epoch * 1000 + int(index)] = ImageBatch(image, label, index)
    return found


@pytest.mark.parametrize(("workers", "world"), [(2, 1), (0, 2), (0, 4), (1, 2)])
def test_pictures_depend_on_seed_epoch_and_index_alone(folders: ClassFolders, workers: int, world: int) -> None:
    expected, found = train_batches(folders, 0), train_batches(folders, workers, world)
    assert found.keys() == expected.keys()
    assert len(expected) == 32
    for key, sample in expected.items():
        assert torch.equal(found[key].image, sample.image)
        assert found[key].label == sample.label
    first, second = (key for key in expected if key % 1000 == next(iter(expected)) % 1000)
    assert not torch.equal(expected[first].image, expected[second].image)


@pytest.mark.parametrize("start", ["spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_may_be_started_afresh(folders: ClassFolders, start: str) -> None:
    loaders = [make_loader(folders.val_dataset(), EvalSampler(6, 0, 1), 4, workers, pin=False) for workers in (0, 1)]
    loaders[1].multiprocessing_context = start
    for here, there in zip(*loaders, strict=True):
        assert torch.equal(here.image, there.image)
        assert torch.equal(here.index, there.index)


def test_loading_leaves_the_generators_alone(folders: ClassFolders) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    dataset = folders.train_dataset(0)
    dataset[Draw(0, 1)]
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_covers_each_image_once_over_the_ranks(folders: ClassFolders) -> None:
    batches = [
        batch
        for rank in range(4)
        for batch in make_loader(folders.val_dataset(), EvalSampler(6, rank, 4), 2, 0, pin=False)
    ]
    indices, labels = (torch.cat([getattr(b, name) for b in batches]) for name in ("index", "label"))
    images = torch.cat([batch.image for batch in batches])
    assert sorted(indices.tolist()) == [-1, -1, 0, 1, 2, 3, 4, 5]
    assert {int(i): int(label) for i, label in zip(indices, labels, strict=True) if i >= 0} == {
        **dict.fromkeys(range(3), 0),
        **dict.fromkeys(range(3, 6), 1),
    }
    first = images[indices.tolist().index(0)]
    assert all(torch.equal(images[i], first) for i in range(8) if indices[i] == -1)
    assert labels[indices == -1].tolist() == [0, 0]
    assert (images.dtype, labels.dtype, indices.dtype) == (torch.float32, torch.int64, torch.int64)


class Threads(DrawDataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, draw: Draw) -> Sample:
        return torch.zeros(3, 1, 1), torch.get_num_threads(), draw.index


class Killed(Threads):
    def __getitem__(self, draw: Draw) -> Sample:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_workers_use_one_thread() -> None:
    for batch in make_loader(Threads(), EvalSampler(4, 0, 1), 2, 1, pin=False):
        assert batch.label.tolist() == [1, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_image_reaches_the_user_as_one_line(tmp_path: Path, folders: ClassFolders, workers: int) -> None:
    dataset = folders.val_dataset()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bad.jpg").write_bytes(b"nothing")
    train, val = ClassFolders.read_tree(tmp_path)
    assert val is None
    broken = type(dataset)(train, dataset.transform, None)
    with pytest.raises(UserError) as caught:
        list(make_loader(broken, EvalSampler(2, 0, 1), 2, workers, pin=False))
    line = worker_error_line(caught.value) if workers else str(caught.value)
    assert line is not None
    assert line.startswith(str(tmp_path / "a" / "bad.jpg"))
    assert "\n" not in line


@pytest.mark.slow
def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(RuntimeError) as caught:
        list(make_loader(Killed(), EvalSampler(4, 0, 1), 2, 1, pin=False))
    line = worker_error_line(caught.value)
    assert line is not None
    assert "--data.num_workers" in line
    assert "\n" not in line


def test_other_errors_are_not_claimed() -> None:
    for error in (ValueError("x"), RuntimeError("CUDA out of memory"), UserError("one line")):
        assert worker_error_line(error) is None


def test_workers_follow_the_cores_of_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, world, expected in ((2, 1, 1), (1, 1, 1), (96, 8, 11), (96, 1, 16), (4, 8, 1)):
        monkeypatch.setattr("maekit.data.loader.usable_cores", lambda cores=cores: cores)
        assert choose_workers(None, world) == expected
    assert choose_workers(0, 8) == 0
    assert choose_workers(5, 8) == 5
    with pytest.raises(UserError, match="num_workers: got -1"):
        choose_workers(-1, 1)


def test_batches_ahead_are_bounded_by_the_images_they_hold() -> None:
    """4 batches ahead of each worker while all hold 2048 images at most, and never fewer than 2."""
    for workers, batch, expected in ((1, 32, 4), (8, 64, 4), (16, 32, 4), (11, 64, 2), (8, 80, 3), (16, 1024, 2)):
        assert choose_prefetch(workers, batch) == expected
        assert workers * batch * expected <= 2048 or expected == 2
    assert make_loader(Threads(), EvalSampler(4, 0, 1), 640, 1, pin=False).prefetch_factor == 3
    assert make_loader(Threads(), EvalSampler(4, 0, 1), 80, 0, pin=False).prefetch_factor is None


def test_cores_are_those_this_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_containers_quota_bounds_the_cores(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    assert quota_of(file) is None
    for text, cores in (("max 100000\n", None), ("400000 100000\n", 4), ("50000 100000\n", 1)):
        file.write_text(text)
        assert quota_of(file) == cores


def test_cores_of_a_slurm_task_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 tasks of 12 cores each: bound to its 12 a task must not take an eighth of them; unbound it must not take 96."""
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "12")
    for cores in (12, 96):
        monkeypatch.setattr("maekit.data.loader.usable_cores", lambda cores=cores: cores)
        monkeypatch.setenv("SLURM_NTASKS", "16")
        monkeypatch.setenv("SLURM_PROCID", "3")
        assert process_cores(8) == 12
        monkeypatch.setenv("SLURM_NTASKS", "1")
        assert process_cores(4) == cores // 4


def test_a_loader_knows_how_long_its_batches_were_waited_for() -> None:
    class Slow(Threads):
        def __getitem__(self, draw: Draw) -> Sample:
            time.sleep(0.01)
            return super().__getitem__(draw)

    loader = make_loader(Slow(), EvalSampler(4, 0, 1), 2, 0, pin=False)
    assert len(list(loader)) == 2
    assert loader.waited >= 0.04


def test_a_run_that_ends_without_its_loaders_goodbye_waits_for_no_worker(tmp_path: Path) -> None:
    """As after Ctrl-C: what holds the loader lives until Python exits, which signals each worker once and waits."""
    script = tmp_path / "held.py"
    script.write_text(
        "from maekit.data.loader import make_loader\n"
        "loader = make_loader(list(range(100)), range(100), 4, 2, False, collate=list)\n"
        "batches = iter(loader)\n"
        "print(next(batches))\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "[0, 1, 2, 3]\n", "")
