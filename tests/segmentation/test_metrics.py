import math
from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.segmentation.metrics import SegmentationMetrics, class_table
from tests.segmentation.mmseg_peer import mmseg_module
from tests.stand_in import DEVICE, stand_in, to_device, to_host

NUM_CLASSES = 9
NAMES = ["wall", "sky", "tree", "door", "lamp", "sea", "car", "cat", "bed"]
ABSENT, ONLY_PREDICTED, ONLY_LABELLED = 4, 6, 7
Pair = tuple[Tensor, Tensor]


def _pairs(num_images: int = 7) -> list[Pair]:
    """Predictions and labels of images of several sizes: one class nowhere, one only predicted, one only labelled."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for number in range(num_images):
        size = (20 + 3 * number, 31 - number)
        label, other = torch.randint(NUM_CLASSES, (2, *size), generator=generator)
        label[(label == ABSENT) | (label == ONLY_PREDICTED)] = 0
        other[(other == ABSENT) | (other == ONLY_LABELLED)] = 1
        predicted = torch.where((torch.rand(size, generator=generator) < 0.6) & (label != ONLY_LABELLED), label, other)
        label[torch.rand(size, generator=generator) < 0.1] = 255
        pairs.append((predicted, label))
    return pairs


def _filled(*pairs: Pair) -> SegmentationMetrics:
    metrics = SegmentationMetrics(NUM_CLASSES)
    for pair in pairs:
        metrics.update(*pair)
    return metrics


def _peer(pairs: list[Pair]) -> dict[str, Any]:
    """mmsegmentation's values, 0 to 1: aAcc, and IoU and Acc of each class."""
    peer = mmseg_module("mmseg.evaluation.metrics").IoUMetric
    areas = [peer.intersect_and_union(predicted, label, NUM_CLASSES, 255) for predicted, label in pairs]
    values: dict[str, Any] = peer.total_area_to_metrics(*(sum(area).double() for area in zip(*areas, strict=True)))
    return {name: torch.as_tensor(value) for name, value in values.items()}


def test_values_equal_mmsegmentations() -> None:
    peer = _peer(_pairs())
    values = _filled(*_pairs()).compute()
    expected = {"mIoU": peer["IoU"].nanmean(), "mAcc": peer["Acc"].nanmean(), "aAcc": peer["aAcc"]}
    assert expected["mIoU"] < expected["mAcc"] < expected["aAcc"] < 1
    for name, value in expected.items():
        assert values[name].item() == pytest.approx(100 * value.item(), rel=1e-6), name
    assert list(values) == list(expected)


def test_each_class_equals_mmsegmentations() -> None:
    peer = _peer(_pairs())
    scores = _filled(*_pairs()).per_class()
    for name, values in (("IoU", [s.iou for s in scores]), ("Acc", [s.acc for s in scores])):
        torch.testing.assert_close(torch.tensor(values), 100 * peer[name].float(), rtol=1e-6, atol=0, equal_nan=True)
    labels = torch.cat([label.flatten() for _, label in _pairs()])
    assert [s.pixels for s in scores] == [int((labels == c).sum()) for c in range(NUM_CLASSES)]
    assert math.isnan(scores[ABSENT].iou)
    assert math.isnan(scores[ABSENT].acc)
    assert scores[ONLY_PREDICTED].iou == 0
    assert math.isnan(scores[ONLY_PREDICTED].acc)
    assert scores[ONLY_LABELLED].acc == 0


@pytest.mark.parametrize("shares", [[7], [1] * 7, [3, 4], [0, 6, 1]])
def test_any_split_gives_the_same_bits(shares: list[int]) -> None:
    """Of images over metrics whose states are summed, as processes do."""
    pairs, whole, sums = _pairs(), _filled(*_pairs()), SegmentationMetrics(NUM_CLASSES)
    sums.update(torch.zeros(1, 1).long(), torch.full((1, 1), 255))
    for share in shares:
        sums.confusion += _filled(*(pairs.pop() for _ in range(share))).confusion
    torch.testing.assert_close(sums.compute(), whole.compute(), rtol=0, atol=0)
    assert sums.confusion.dtype == torch.int64


def test_an_ignored_pixel_may_hold_any_prediction() -> None:
    predicted, label = torch.tensor([[0, 200, -3, 1]]), torch.tensor([[0, 255, 255, 0]])
    assert _filled((predicted, label)).compute()["aAcc"] == 50


def test_bytes_count_as_integers_do() -> None:
    bytes_of = [(predicted.byte(), label.byte()) for predicted, label in _pairs()]
    torch.testing.assert_close(_filled(*bytes_of).compute(), _filled(*_pairs()).compute(), rtol=0, atol=0)
    assert SegmentationMetrics(150).confusion.numel() > 255**2 / 3  # a byte could not name its cells


def test_nothing_seen_is_refused() -> None:
    metrics = _filled((torch.ones(4, 5).long(), torch.full((4, 5), 255)))
    with pytest.raises(UserError, match="every pixel of the validation label maps is ignored"):
        metrics.compute()
    assert all(math.isnan(score.iou) and score.mistaken_for is None for score in metrics.per_class())


def test_reset_forgets() -> None:
    metrics = _filled(*_pairs(3))
    metrics.compute()
    metrics.reset()
    for pair in _pairs():
        metrics.update(*pair)
    torch.testing.assert_close(metrics.compute(), _filled(*_pairs()).compute(), rtol=0, atol=0)
    assert not metrics.state_dict()


@pytest.mark.parametrize(
    ("predicted", "label", "message"),
    [
        (0, 9, "got label 9, expected 0 to 8 or 255 where a pixel is ignored; check that labels and model have the"),
        (0, -1, "got label -1, expected 0 to 8"),
        (9, 0, "got prediction 9, expected 0 to 8"),
        (255, 0, "got prediction 255, expected 0 to 8"),
        (-1, 0, "got prediction -1, expected 0 to 8"),
    ],
)
def test_numbers_of_no_class_are_refused(predicted: int, label: int, message: str) -> None:
    metrics = _filled(*_pairs())
    before = metrics.confusion.clone()
    with pytest.raises(UserError) as error:
        metrics.update(torch.tensor([[1, predicted]]), torch.tensor([[1, label]]))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert metrics.confusion.equal(before)


def test_a_prediction_of_another_size_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^got predictions of \(4, 5\) pixels for labels of \(5, 4\), expected one size"
    ):
        SegmentationMetrics(3).update(torch.zeros(4, 5).long(), torch.zeros(5, 4).long())


def test_the_table_names_the_worst_first_and_the_absent_last() -> None:
    metrics = SegmentationMetrics(4)
    #                            wall wall wall sky sky lamp ignored
    metrics.update(torch.tensor([[0, 2, 2, 1, 1, 1, 3]]), torch.tensor([[0, 0, 0, 1, 1, 2, 255]]))
    assert class_table(["wall", "sky", "lamp", "a bed"], metrics) == [
        "label  class     IoU     Acc         pixels  most often taken for",
        "    2  lamp     0.00    0.00              1  sky (100.0 %)",
        "    0  wall    33.33   33.33              3  lamp (66.7 %)",
        "    1  sky     66.67  100.00              2",
        "in no label and no prediction, so left out of the means: a bed (3)",
    ]


def test_the_table_holds_every_class_once() -> None:
    lines = class_table(NAMES, _filled(*_pairs()))
    assert len(lines) == 1 + (NUM_CLASSES - 1) + 1
    values = [float(line.split()[2]) for line in lines[1:-1]]
    assert values == sorted(values)
    assert {line.split()[1] for line in lines[1:-1]} == set(NAMES) - {NAMES[ABSENT]}
    assert lines[-1].endswith("left out of the means: lamp (4)")


def test_two_processes_give_the_bits_of_one() -> None:
    """Torchmetrics' own joining of processes, each given the other's state by hand; real processes take 10 s."""
    ranks, one = [_filled(*_pairs()[6:]), _filled(*_pairs()[:6])], _filled(*_pairs())
    states = [metrics.confusion.clone() for metrics in ranks]
    for metrics, state in zip(ranks, states, strict=True):
        metrics.distributed_available_fn = lambda: True
        metrics.dist_sync_fn = lambda *_, **__: states
        assert class_table(NAMES, metrics) == class_table(NAMES, one)
        torch.testing.assert_close(metrics.compute(), one.compute(), rtol=0, atol=0)
        assert metrics.confusion.equal(state), "the joined state must not stay, or it counts twice"


@pytest.mark.parametrize(("wrong", "words"), [(9, "got label 9, expected 0 to 8"), (-2, "got label -2")])
def test_an_accelerator_is_not_waited_for_and_a_wrong_label_is_reported_at_the_end(wrong: int, words: str) -> None:
    pairs = _pairs()
    expected = _filled(*pairs)
    with stand_in(lines=True) as waits:
        metrics = SegmentationMetrics(NUM_CLASSES).to(DEVICE)
        moved = to_device(pairs)
        waits.reset()
        for pair in moved:
            metrics.update(*pair)
        assert waits.total == 0, waits.lines
        assert to_host(metrics.confusion).equal(expected.confusion)
        metrics.update(moved[0][0], torch.full_like(moved[0][1], wrong))
        assert int(metrics.confusion.min()) < 0  # so that other processes stop too
        with pytest.raises(UserError, match=words):
            metrics.compute()
        metrics.reset()
        metrics.update(*moved[0])
        assert metrics.compute().keys() == {"mIoU", "mAcc", "aAcc"}
