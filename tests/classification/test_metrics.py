"""Classification metrics: equal to scikit-learn's, exact under any split over batches and processes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from maekit.classification.chosen_metrics import METRICS, ChosenMetrics
from maekit.classification.metrics import ClassificationMetrics

Batch = tuple[Tensor, Tensor, Tensor]


def _images(num_images: int = 101, num_classes: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num_images, num_classes, generator=generator)
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    return logits, labels, torch.arange(num_images)


def _padding(num_rows: int, num_classes: int = 8) -> Batch:
    """Rows that would change every value if they were counted."""
    return torch.full((num_rows, num_classes), torch.nan), torch.zeros(num_rows).long(), torch.full((num_rows,), -1)


def _computed(*batches: Batch, names: Sequence[str] = ()) -> dict[str, Tensor]:
    metrics = ChosenMetrics(names) if names else ClassificationMetrics()
    for batch in batches:
        metrics.update(*batch)
    return metrics.compute()


def _split(batch: Batch, sizes: list[int]) -> list[Batch]:
    return list(zip(*(torch.split(tensor, sizes) for tensor in batch), strict=True))


def test_values_equal_sklearns() -> None:
    logits, labels, index = _images()
    values = _computed((logits, labels, index))
    probabilities = logits.double().softmax(1).numpy()
    classes = range(8)
    assert values["top1"].item() == pytest.approx(100 * top_k_accuracy_score(labels, logits, k=1, labels=classes))
    assert values["top5"].item() == pytest.approx(100 * top_k_accuracy_score(labels, logits, k=5, labels=classes))
    assert values["loss"].item() == pytest.approx(log_loss(labels, probabilities, labels=classes), rel=1e-6)
    assert 0 < values["top1"] < values["top5"] < 100


@pytest.mark.parametrize("sizes", [[101], [1] * 101, [100, 1], [37, 0, 64], [7] * 14 + [3]])
def test_any_split_gives_the_same_bits(sizes: list[int]) -> None:
    whole = _images()
    padded = [tuple(torch.cat(p) for p in zip(part, _padding(2), strict=True)) for part in _split(whole, sizes)]
    values = _computed(*padded)  # type: ignore[arg-type]
    torch.testing.assert_close(values, _computed(whole), rtol=0, atol=0)
    chosen = _computed(*padded, names=[*METRICS])  # type: ignore[arg-type]
    torch.testing.assert_close(chosen, _computed(whole, names=[*METRICS]), rtol=0, atol=0)


def test_top5_of_fewer_classes_counts_everything() -> None:
    values = _computed(_images(num_classes=3))
    assert values["top5"] == 100
    assert values["top1"] < 100


def test_half_precision_logits_are_counted_in_fp32() -> None:
    logits, labels, index = _images()
    half = logits.bfloat16()
    torch.testing.assert_close(
        _computed((half, labels, index)), _computed((half.float(), labels, index)), rtol=0, atol=0
    )


def test_reset_forgets() -> None:
    metrics = ClassificationMetrics()
    metrics.update(*_images(50))
    metrics.compute()
    metrics.reset()
    metrics.update(*_images())
    torch.testing.assert_close(metrics.compute(), _computed(_images()), rtol=0, atol=0)
    assert not metrics.state_dict()


def test_a_loss_that_is_not_finite_is_seen() -> None:
    logits, labels, index = _images()
    logits[3] = torch.nan
    assert _computed((logits, labels, index))["loss"].isnan()


def test_only_padding_gives_nan() -> None:
    assert all(value.isnan() for value in _computed(_padding(4)).values())


_SHARES = {"uneven": [[64, 5], [32]], "one rank has only padding": [[101], [0]]}  # batches of each rank


def _rank(rank: int, folder: str) -> None:
    """One of two processes: a share of the images in uneven batches, each followed by padding."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    values = {}
    for name, sizes in _SHARES.items():
        share = _split(_images(), [sum(batches) for batches in sizes])[rank]
        for metrics in (ClassificationMetrics(), ChosenMetrics([*METRICS])):
            for batch in _split(share, sizes[rank]):
                metrics.update(*batch)
                metrics.update(*_padding(3))
            values[f"{name}, {type(metrics).__name__}"] = metrics.compute()
    torch.save(values, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(tmp_path: Path) -> None:
    start: Any = start_processes
    context = start(_rank, args=(str(tmp_path),), nprocs=2, join=False, start_method="spawn")
    try:
        assert context.join(timeout=120) or context.join(timeout=120), "the processes did not end"
    finally:
        for process in context.processes:
            process.kill()
    usual, chosen = _computed(_images()), _computed(_images(), names=[*METRICS])
    for rank in range(2):
        values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name in _SHARES:
            torch.testing.assert_close(values[f"{name}, ClassificationMetrics"], usual, rtol=0, atol=0)
            torch.testing.assert_close(values[f"{name}, ChosenMetrics"], chosen, rtol=0, atol=0)
