"""A command imports neither torch's compiler nor what libraries have for others; what is used is the same."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from maekit.optim.never_compiled import SGD, AdamW
from maekit.system.late_compiler import CompiledModule, disable
from tests.conftest import TINY, few_digits

PROGRAM = """
import sys
from maekit.cli import main
assert main() == 0
unused = {"torch._dynamo", "sympy", "scipy", "matplotlib", "transformers", "timm"} & set(sys.modules)
assert not unused, unused
from maekit.system.light_imports import import_alone
alone = import_alone("timm.data.mixup").Mixup
from maekit.robustness.data.sets import imagenet_synsets
from maekit.weights.load.classes import Classes, plain, words
ids = imagenet_synsets()
called = words(Classes(ids, ids))
assert "timm" not in sys.modules
import timm.data
assert timm.data.Mixup is alone
info = timm.data.ImageNetInfo("imagenet-1k")
assert list(ids) == info.label_names()
says = info.label_name_to_description
assert all(plain(says(i)) in word.whole for i, word in zip(ids, called))
"""


def test_a_run_imports_no_compiler_and_nothing_that_only_other_metrics_need(tmp_path: Path) -> None:
    words = ["fit", "--task", "imagenet_finetune", "--recipe", "smoke", "--data.root", str(few_digits()), *TINY]
    command = [sys.executable, "-c", PROGRAM, *words, "--trainer.max_steps=1", "--trainer.limit_val_batches=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_compiled_module_is_known_as_one() -> None:
    plain = nn.Linear(2, 2)
    assert not isinstance(plain, CompiledModule)
    assert isinstance(torch.compile(plain), CompiledModule)


def test_a_function_marked_before_the_compiler_came_computes_the_same() -> None:
    marked = disable(lambda left, right: left - right)
    assert marked(5, right=3) == 2
    torch.compile(nn.Linear(1, 1))  # imports the compiler
    assert marked(5, right=3) == 2


def test_steps_are_those_of_torch() -> None:
    pairs: list[tuple[Any, Any, dict[str, Any]]] = [
        (AdamW, optim.AdamW, {"fused": True}),
        (SGD, optim.SGD, {"momentum": 0.9}),
    ]
    for own, theirs, options in pairs:
        kept = []
        for kind in (own, theirs):
            weight = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64))
            optimizer = kind([weight], lr=0.1, weight_decay=0.05, **options)
            for _ in range(3):
                optimizer.zero_grad()
                weight.pow(3).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            assert weight.requires_grad and torch.is_grad_enabled()
            kept.append(weight.detach())
        assert torch.equal(*kept)
