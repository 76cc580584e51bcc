"""Weights of the classes in a classifier's loss: their formula, their files, and the loss against explicit sums."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from maekit.base.checkpoint_card import read_card
from maekit.base.spec import DataSpec
from maekit.classification.class_weights import class_weights, positive_weights, weighted_cross_entropy
from maekit.classification.targets.losses import binary_loss
from maekit.errors import UserError
from maekit.recipes.tasks import find_task
from tests.helpers_run import tiny

SPEC = DataSpec(("cat", "dog", "no"), (8, 8), ("n01", "n02", "n03"), class_counts=(70, 25, 5), train_images=100)
GIVEN = {"cat": 1.0, "dog": 2.0, "no": 8.0}


def test_auto_is_scikit_learns_balanced_and_1_on_average() -> None:
    values, line = class_weights("auto", SPEC)
    labels = np.repeat(np.arange(3), SPEC.class_counts)
    peer = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(3), y=labels)).float()
    torch.testing.assert_close(values, peer)
    assert values[torch.from_numpy(labels)].mean().item() == pytest.approx(1)
    assert all(fact in line for fact in ("0.476", "'cat'", "6.67", "'no'", "inverse frequency"))


def test_a_class_without_training_images_has_no_weight() -> None:
    spec = DataSpec(("a", "b", "c"), (8, 8), class_counts=(30, 0, 10), train_images=40)
    values, line = class_weights("auto", spec)
    torch.testing.assert_close(values, torch.tensor([2 / 3, 0, 2]))
    assert "'b'" not in line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.csv", "class,weight\ncat,1\ndog,2\n\nno,8\n"),
        ("w.csv", "class;weight\ncat;1\ndog;2\nno;8\n"),
        ("w.csv", "no, 8\ncat, 1\ndog, 2\n"),
        ("w.tsv", "n01\t1\nn02\t2\nn03\t8\n"),
        ("w.json", json.dumps(GIVEN)),
        ("w.yaml", "cat: 1\ndog: 2.0\nno: 8\n"),
    ],
)
def test_each_form_of_a_file_gives_the_same_weights(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    values, line = class_weights(str(tmp_path / name), SPEC)
    torch.testing.assert_close(values, torch.tensor([1.0, 2.0, 8.0]) / 1.6)  # their mean over 70, 25 and 5 images
    assert str(tmp_path / name) in line


@pytest.mark.parametrize(
    ("name", "text", "fact"),
    [
        ("w.csv", "cat,1\ndog,2\n", "no weight for class 'no'"),
        ("w.csv", "cat,1\ndgo,2\nno,3\n", "'dgo' is none of the 3 classes of the data; did you mean 'dog'"),
        ("w.csv", "cat,1\ndog,2\nno,0\n", "got '0' for class 'no'"),
        ("w.csv", 'cat,"1,5"\ndog,2\nno,1\n', "got '1,5' for class 'cat'"),
        ("w.csv", "cat,1_0\ndog,2\nno,1\n", "got '1_0' for class 'cat'"),
        ("w.yaml", "cat: 1\ndog: .nan\nno: 1\n", "class 'dog'"),
        ("w.json", '{"cat": 1, "dog": 2, "dog": 3, "no": 1}', "'dog' twice"),
        ("w.json", "[1, 2, 3]", "got no mapping"),
        ("w.json", "{", "cannot be read"),
        ("w.csv", "cat,1,2\n", "a line of 3 cells"),
        ("w.csv", "", "got no weights"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, name: str, text: str, fact: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        class_weights(str(tmp_path / name), SPEC)
    assert fact in str(caught.value) and "\n" not in str(caught.value)


def test_the_loss_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(12, 3, generator=generator), torch.arange(12) % 3
    weights = class_weights("auto", SPEC).values
    loss = weighted_cross_entropy(logits, labels, weights)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, weight=weights))
    torch.testing.assert_close(
        weighted_cross_entropy(logits, labels, torch.ones(3), 0.1), F.cross_entropy(logits, labels, label_smoothing=0.1)
    )


def test_a_mixed_image_counts_as_its_two_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, first = torch.randn(6, 3, generator=generator), torch.tensor([0, 1, 2, 2, 0, 1])
    second, weights, smoothing = first.flip(0), class_weights("auto", SPEC).values, 0.1
    smoothed = [F.one_hot(part, 3) * (1 - smoothing) + smoothing / 3 for part in (first, second)]
    total = divisor = torch.zeros(())
    for share, part in ((0.3, first), (0.7, second)):
        losses = F.cross_entropy(logits, part, label_smoothing=smoothing, reduction="none")
        total, divisor = total + share * (weights[part] * losses).sum(), divisor + share * weights[part].sum()
    target = 0.3 * smoothed[0] + 0.7 * smoothed[1]
    torch.testing.assert_close(weighted_cross_entropy(logits, target, weights, smoothing), total / divisor)


def test_weights_of_labels_are_absent_by_present_images(tmp_path: Path) -> None:
    spec = DataSpec(("cat", "dog", "owl"), (8, 8), target="labels", class_counts=(50, 10, 0), train_images=100)
    values, line = positive_weights("auto", spec)
    torch.testing.assert_close(values, torch.tensor([1.0, 9.0, 1.0]))
    assert "1 ('cat') to 9 ('dog')" in line
    (tmp_path / "w.csv").write_text("cat,3\ndog,2\nowl,5\n")
    torch.testing.assert_close(positive_weights(str(tmp_path / "w.csv"), spec).values, torch.tensor([3.0, 2.0, 5.0]))
    logits, labels = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3).repeat(3, 1)[:8]
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    torch.testing.assert_close(binary_loss(logits, labels, 0.0, values), (each * (labels * (values - 1) + 1)).mean())


@pytest.mark.parametrize("task", ["imagenet_finetune", "imagenet_linprobe"])
def test_a_run_says_its_weights_and_its_checkpoint_needs_no_file(
    tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "weights.json"
    file.write_text(json.dumps({f"n{digit:08}": 10 if digit == 7 else 1 for digit in range(10)}))
    asked: dict[str, Any] = {"model__class_weights": str(file), "trainer__max_steps": 1, "data__sampling": "balanced"}
    session = tiny(tmp_path, task, **asked)
    folder = Path(session.fit()["folder"])
    printed = capsys.readouterr().out
    assert (
        "loss    class weights 0.526 ('n00000000') to 5.26 ('n00000007')" in printed
        and "both favour rare classes" in printed
    )
    file.unlink()
    card = read_card(folder / "best.ckpt")
    assert card.spec.class_counts == (8,) * 10 and card.spec.train_images == 80
    find_task(task).load().Model.build(card.spec, card.config["model"])
    with pytest.raises(UserError, match="expected auto, none or a file that exists"):
        tiny(tmp_path / "again", task, **asked).fit()
    assert not (tmp_path / "again").exists()
