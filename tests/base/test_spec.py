"""What the data say of an image: classes, values or nothing; and what a checkpoint keeps of that."""

from pathlib import Path
from typing import Any

import pytest
import torch

from maekit.base.checkpoint_card import read_card
from maekit.base.spec import DataSpec


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("none", {"class_names": ("a",)}),
        ("values", {"class_names": ("a",)}),
        ("classes", {"value_names": ("age",)}),
        ("labels", {"value_names": ("age",)}),
    ],
)
def test_names_of_what_the_target_is_not_are_refused(target: Any, names: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=f"the target is {target}"):
        DataSpec(**{"class_names": (), "image_size": (8, 8), "target": target, **names})


def card(**changed: Any) -> dict[str, Any]:
    return {
        "format": 1, "task": "mae_pretrain", "recipe": "smoke", "config": {}, "step": 3, "image_size": [32, 32],
        "class_names": [], "class_ids": [], "input": {}, **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"target": "none"}, DataSpec((), (32, 32), target="none")),
        ({"target": "values", "value_names": ["age"]}, DataSpec((), (32, 32), target="values", value_names=("age",))),
        (
            {"class_names": ["image"], "class_ids": ["image"]},
            DataSpec((), (32, 32), target="none"),
        ),  # an earlier version
        (
            {"target": "values", "value_names": ["age"], "value_mean": [40.5], "value_std": [3.0]},
            DataSpec((), (32, 32), target="values", value_names=("age",), value_mean=(40.5,), value_std=(3.0,)),
        ),
        ({"target": "grades", "class_names": ["low", "high"]}, DataSpec(("low", "high"), (32, 32), target="grades")),
        ({"target": "none", "bands": ["R", "nir"]}, DataSpec((), (32, 32), target="none", bands=("R", "nir"))),
        ({"class_names": ["a", "b"], "class_ids": ["1", "2"]}, DataSpec(("a", "b"), (32, 32), ("1", "2"))),
        ({"target": "classes", "class_names": ["image"], "class_ids": []}, DataSpec(("image",), (32, 32))),
    ],
)
def test_a_checkpoint_keeps_the_target(tmp_path: Path, written: dict[str, Any], expected: DataSpec) -> None:
    torch.save({"state_dict": {}, "maekit": card(**written)}, tmp_path / "a.ckpt")
    assert read_card(tmp_path / "a.ckpt").spec == expected
