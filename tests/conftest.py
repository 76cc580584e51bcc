"""What tests share: their own cache of made data, and short runs of a small model."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: a second thread costs more than it brings

import pytest
import torch

from maekit.data.digits import cached, digits_root
from maekit.runs import folder as run_folder
from tests import stand_in

if not torch.cuda.is_available():
    stand_in.register()

# A run as small as one can be: the smoke recipe with a 3-block ViT, on 80 digits, 16 a step, 5 steps an epoch.
TINY = (
    "--model.backbone=vit_test_patch8",
    "--model.weights=none",
    "--data.total_batch_size=16",
    "--data.device_batch_size=16",
    "--data.num_workers=0",
    "--trainer.limit_val_batches=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.precision=32-true",
)


def without_key_bias(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without the keys' biases: softmax cancels them, so AdamW scales pure rounding noise there."""
    return {
        name: torch.cat([tensor.chunk(3)[0], tensor.chunk(3)[2]]) if name.endswith("attn.qkv.bias") else tensor
        for name, tensor in state.items()
    }


def few_digits() -> Path:
    """A folder with 8 training and 2 validation images of each digit, made once a session."""
    return cached("few", write_few)


def write_few(root: Path) -> None:
    """Copies them."""
    for split, count in (("train", 8), ("val", 2)):
        for folder in sorted((digits_root() / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copyfile(file, root / split / folder.name / file.name)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Made data goes to a folder of this session, also where several workers share it (`pytest -n 2`)."""
    worker = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "cache" if worker else tmp_path_factory.mktemp("cache")
    folder.mkdir(exist_ok=True)
    before = os.environ.get("MAEKIT_CACHE")
    os.environ["MAEKIT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["MAEKIT_CACHE"]
    else:
        os.environ["MAEKIT_CACHE"] = before


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees another's run folder, or changes the number of threads for the next."""
    monkeypatch.delenv(run_folder.FOLDER, raising=False)
    threads = torch.get_num_threads()
    yield
    os.environ.pop(run_folder.FOLDER, None)
    torch.set_num_threads(threads)


@pytest.fixture
def float64() -> Iterator[None]:
    """What the test makes is float64: structure is compared without a kernel's rounding (see tests/numeric.py)."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
