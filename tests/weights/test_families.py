"""What families declare of their files: every kind is recognised, and weights/ itself names no head."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import maekit.weights
from maekit.weights.families.registry import class_heads, families, kind_of, kinds, purposes
from maekit.weights.load.class_order import class_rows

FOLDER = Path(maekit.weights.__file__).parent
ENCODER = {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"}
HEADS = re.compile(r"head\.(fc|decode|detector|decoder_|target)|decode_head|roi_heads")


def test_every_family_with_files_is_found() -> None:
    names = [kind.name for family in families() for kind in family.kinds]
    assert sorted(names) == sorted(set(names))
    assert set(names) >= {
        "box_detector", "cascade_box_detector", "cascade_detector", "classifier_class", "classifier_mean", "detector",
        "linear_probe", "pretraining", "segmenter",
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in kinds() if name != "unknown"])
def test_a_kind_is_known_by_what_it_has(name: str) -> None:
    assert kind_of({*ENCODER, *kinds()[name].has}, foreign=False).name == name


@pytest.mark.parametrize("name", [name for name in kinds() if name != "unknown"])
def test_a_foreign_model_is_of_no_kind_but_an_adapted_one(name: str) -> None:
    kind = kinds()[name]
    assert kind_of({*ENCODER, *kind.has}, foreign=True).name == (name if kind.adapted else "unknown")


def test_purposes_have_places_of_their_own() -> None:
    ranks = [purpose.rank for purpose in purposes()]
    assert len(ranks) == len(set(ranks)) > 3


def test_the_tensor_that_shows_the_classes_has_rows_for_them() -> None:
    for head in class_heads():
        beside = next(rows.beside for start, rows in head.rows.items() if head.weight.startswith(start))
        assert class_rows({head.weight: torch.ones(7 + beside, 2)}, 7) == [head.weight]


def test_no_head_is_named_outside_the_layouts() -> None:
    """Only an adapter names heads: its own project's, and ours that they become."""
    files = [file for file in FOLDER.rglob("*.py") if "layouts" not in file.parts]
    assert len(files) > 20
    assert not [(file.name, text) for file in files for text in code_strings(file) if HEADS.search(text)]


def code_strings(file: Path) -> Iterator[str]:
    """Text in the code, without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
