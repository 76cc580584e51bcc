"""What is counted on the robustness data sets: subsets, both means of ImageNet-C, any split over ranks."""

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from maekit.data.sampler import EvalSampler
from maekit.robustness.data.sets import SEVERITIES, alexnet_errors, cells, imagenet_synsets, published
from maekit.robustness.metrics import Count, RobustnessMetrics, corruption_errors, summarise
from maekit.robustness.table import robustness_json, robustness_table

NUM_CLASSES = 12
CANDIDATES = {"imagenet_a": [1, 4, 7, 11], "imagenet_r": [0, 1, 2, 9, 10]}
# AlexNet's errors by severity as the authors of ImageNet-C gave them in hendrycks/robustness #10.
ALEXNET_BY_SEVERITY = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "fog": (0.67474, 0.7605, 0.84378, 0.8726, 0.945),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
}


def images(count: int = 4000) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels, cells and indices of made images; those of a set with candidates have such a label."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(count, NUM_CLASSES, generator=generator)
    labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
    cell = torch.randint(len(cells()), (count,), generator=generator)
    cell[: count // 10] = 0
    cell[count // 10 : count // 5] = 1
    for number, name in enumerate(CANDIDATES):
        own = torch.tensor(CANDIDATES[name])
        labels[cell == number] = own[labels[cell == number] % len(own)]
    logits[torch.arange(0, count, 2), labels[::2]] += 3
    return logits, labels, cell, torch.arange(count)


def metrics() -> RobustnessMetrics:
    return RobustnessMetrics(NUM_CLASSES, CANDIDATES)


def whole_counts(error: Mapping[str, tuple[float, ...]], num_images: int = 1_000_000) -> list[Count]:
    """A count a cell with these shares of errors for ImageNet-C, none for the others."""
    counts = []
    for cell in cells():
        wrong = round(error[cell.corruption][cell.severity - 1] * num_images) if cell.corruption else 0
        right = num_images - wrong
        counts.append(Count(num_images, right, right) if cell.corruption else Count(0, 0, 0))
    return counts


def test_the_published_lists_are_imagenets() -> None:
    synsets = imagenet_synsets()
    assert len(synsets) == 1000
    assert list(synsets) == sorted(synsets)
    assert (synsets[0], synsets[-1]) == ("n01440764", "n15075141")
    # first, middle and last indices of indices_in_1k in natural-adv-examples' eval.py, and of imagenet-r's
    for name, some in (("imagenet_a", {0: 6, 100: 496, 199: 988}), ("imagenet_r", {0: 1, 100: 355, 199: 988})):
        classes = published(name).classes
        assert len(classes) == len(set(classes)) == published(name).num_classes == 200
        assert list(classes) == sorted(classes)
        assert {place: synsets.index(classes[place]) for place in some} == some


def test_the_published_lists_are_timms() -> None:
    import pkgutil

    for name in ("a", "r"):
        text = pkgutil.get_data("timm.data", f"_info/imagenet_{name}_synsets.txt")
        assert text is not None
        assert set(published(f"imagenet_{name}").classes) == set(text.decode().split())


def test_alexnets_errors_are_the_means_of_its_severities() -> None:
    assert len(alexnet_errors()) == 15
    for corruption, errors in ALEXNET_BY_SEVERITY.items():
        assert alexnet_errors()[corruption] == pytest.approx(sum(errors) / 5, abs=1e-6)


def test_a_prediction_is_the_best_of_the_sets_own_classes() -> None:
    logits, labels, cell, index = images()
    ours = metrics()
    ours.update(logits, labels, cell, index)
    values = ours.compute()
    for number, (name, own) in enumerate(CANDIDATES.items()):
        scores, truth = logits[cell == number].numpy(), labels[cell == number].numpy()
        among = [max(own, key=lambda place: row[place]) for row in scores]
        short = name[-1]
        assert values[f"{short}_top1"].item() == pytest.approx(100 * np.mean(np.array(among) == truth))
        assert values[f"{short}_top1_all_classes"].item() == pytest.approx(100 * np.mean(scores.argmax(1) == truth))
        assert values[f"{short}_top1"] > values[f"{short}_top1_all_classes"] + 5
    there = cell == 2
    right = (logits[there].argmax(1) == labels[there]).float().mean()
    assert values["sketch_top1"].item() == pytest.approx(100 * right.item(), abs=1e-4)
    for number in range(3, len(cells())):
        wrong = (logits[cell == number].argmax(1) != labels[cell == number]).float().mean()
        _, corruption, severity = cells()[number]
        assert values[f"c_{corruption}_{severity}_error"].item() == pytest.approx(100 * wrong.item(), abs=1e-4)


def test_mce_of_alexnet_is_100_and_of_half_its_errors_50() -> None:
    alexnet = {corruption: (error,) * 5 for corruption, error in alexnet_errors().items()}
    values = summarise(whole_counts(alexnet))
    assert values["c_mce_alexnet"] == pytest.approx(100, abs=1e-4)
    assert values["c_mean_error"] == pytest.approx(78.8993, abs=1e-3)  # the 15 add up to 11.834896
    half = {corruption: (error / 2,) * 5 for corruption, error in alexnet_errors().items()}
    assert summarise(whole_counts(half))["c_mce_alexnet"] == pytest.approx(50, abs=1e-4)


def test_mce_equals_the_published_formula() -> None:
    """CE_c is the sum over severities of the model's error by that of AlexNet's; mCE is the mean CE."""
    drawn = np.random.RandomState(0).uniform(0.1, 0.95, (15, 5)).round(6)
    errors = dict(zip(alexnet_errors(), map(tuple, drawn.tolist()), strict=True))
    values = summarise(whole_counts(errors))
    alexnet = np.array([[error] * 5 for error in alexnet_errors().values()])
    assert values["c_mce_alexnet"] == pytest.approx(100 * np.mean(drawn.sum(1) / alexnet.sum(1)))
    assert values["c_mean_error"] == pytest.approx(100 * drawn.mean())
    assert abs(values["c_mce_alexnet"] - values["c_mean_error"]) > 5
    assert values["c_fog_error"] == pytest.approx(100 * np.mean(errors["fog"]))
    assert "c_partial_mean_error" not in values


def test_a_missing_severity_leaves_a_mean_that_is_named_partial() -> None:
    errors = dict.fromkeys(alexnet_errors(), (0.1, 0.2, 0.3, 0.4, 0.5))
    counts = whole_counts(errors)
    gone = cells().index(("imagenet_c", "snow", 5))
    counts[gone] = Count(0, 0, 0)
    values = summarise(counts)
    assert not {"c_mean_error", "c_mce_alexnet", "c_snow_error", "c_snow_5_error"} & set(values)
    assert values["c_snow_4_error"] == pytest.approx(40)
    assert values["c_fog_error"] == pytest.approx(30)
    assert values["c_partial_mean_error"] == pytest.approx((75 * 30 - 50) / 74)
    assert math.isnan(corruption_errors(counts)["snow"][4])
    table = robustness_table(counts, {}, 1000)
    assert table[-1] == "not evaluated: ImageNet-A, ImageNet-R, ImageNet-Sketch, snow 5"
    assert "c_partial_mean_error 29.73: the mean of 74 of 75 severities" in table[-2]
    assert not any("mce" in line for line in table)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_count_what_one_counts(world: int) -> None:
    """As torchmetrics sums the states of ranks: each rank's draws, its padding among them, in batches of 32."""
    logits, labels, cell, index = images(1001)
    alone = metrics()
    alone.update(logits, labels, cell, index)
    joined = metrics()
    joined.update(logits[:1], labels[:1], cell[:1], torch.tensor([-1]))
    for rank in range(world):
        ours = metrics()
        draws = torch.tensor([draw.index for draw in EvalSampler(1001, rank, world)])
        for part in torch.split(draws, 32):
            place = part.clamp(min=0)  # padding has the first image's picture, and wrong labels here
            ours.update(logits[place], torch.where(part < 0, 3, labels[place]), cell[place], part)
        joined.sums += ours.sums
    assert torch.equal(joined.sums, alone.sums)
    assert joined.sums[:, 0].sum() == 1001
    assert joined.compute() == alone.compute()


def test_padding_alone_counts_nothing_and_no_image_gives_no_value() -> None:
    ours = metrics()
    nan = torch.full((4, NUM_CLASSES), torch.nan)
    ours.update(nan, torch.zeros(4).long(), torch.arange(4), torch.full((4,), -1))
    assert ours.compute() == {}
    assert robustness_table(ours.counts(), {}, NUM_CLASSES)[-1].endswith("ImageNet-Sketch, ImageNet-C")


def test_table_and_json_hold_every_number() -> None:
    logits, labels, cell, index = images()
    ours = metrics()
    ours.update(logits, labels, cell, index)
    counts, sizes = ours.counts(), {name: len(own) for name, own in CANDIDATES.items()}
    values = {name: value.item() for name, value in ours.compute().items()}
    table = "\n".join(robustness_table(counts, sizes, NUM_CLASSES))
    assert f"c_mean_error {values['c_mean_error']:.2f}: " in table
    assert f"c_mce_alexnet {values['c_mce_alexnet']:.2f}: mCE" in table
    assert "not evaluated" not in table
    row = next(line for line in table.splitlines() if line.startswith("pixelate")).split()
    expected = [values[f"c_pixelate_{severity}_error"] for severity in SEVERITIES]
    assert row[1:6] == [f"{error:.2f}" for error in expected]
    assert row[6:] == [f"{np.mean(expected):.2f}", "71.78", f"{np.mean(expected) / 0.71784:.2f}"]
    kept = json.loads(json.dumps(robustness_json(counts, sizes, NUM_CLASSES)))
    assert kept["imagenet_a"]["top1"] == pytest.approx(values["a_top1"])
    assert kept["imagenet_a"]["candidates"] == 4
    assert kept["imagenet_r"]["top1_all_classes"] == pytest.approx(values["r_top1_all_classes"])
    assert kept["imagenet_sketch"]["images"] == int((cell == 2).sum())
    assert kept["imagenet_c"]["mce_alexnet"] == pytest.approx(values["c_mce_alexnet"])
    assert kept["imagenet_c"]["errors"]["fog"]["3"]["error"] == pytest.approx(values["c_fog_3_error"])
    assert len(kept["imagenet_c"]["errors"]) == 15
