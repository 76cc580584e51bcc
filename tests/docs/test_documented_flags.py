"""Every flag that a page names is one: a table for those who come from another tool may not send them nowhere."""

import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml

from maekit.cli import main
from tests.docs.fences import TOP, name_of, pages

FLAG = re.compile(r"--((?:model|optim|data|trainer|run)\.[a-z_0-9.]+[a-z_0-9])")
TASKS = ("imagenet_finetune", "multilabel_finetune", "regression_finetune", "mae_pretrain", "ade20k_upernet",
         "coco_maskrcnn", "inaturalist_finetune", "places_finetune")  # fmt: skip
OTHERS = {"model.tune_backbone"}  # said to be a name of earlier versions


def keys(values: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The keys of the configurations of tasks of every family."""
    found: set[str] = set()
    for task in TASKS:
        with redirect_stdout(StringIO()) as printed:
            assert main(["fit", "--task", task, "--recipe", "base", "--model.weights", "none", "--print_config"]) == 0
        found |= set(keys(yaml.safe_load(printed.getvalue())))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("page", [*pages(), TOP / "README.md"], ids=lambda page: page.stem)
def test_flags(page: Path, known: set[str]) -> None:
    named = set(FLAG.findall(page.read_text(encoding="utf-8")))
    heads = {flag for flag in named if flag.startswith("model.head_args.")}  # the arguments of mmsegmentation's heads
    assert named - heads - known - OTHERS == set(), name_of(page) if page.is_relative_to(TOP / "docs") else page.name
