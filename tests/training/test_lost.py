"""An error of torch.distributed becomes one line in a run of several processes; other errors stay what they are."""

from collections.abc import Iterator

import pytest
from torch.distributed import DistNetworkError, DistStoreError

from maekit.training.processes.lost import lost_process
from maekit.training.processes.meeting import expect


@pytest.fixture
def two_processes() -> Iterator[None]:
    expect(2)
    yield
    expect(1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("[pair.cc:534] Connection closed by peer [10.0.0.2]:3421"), "ended or cannot be reached"),
        (RuntimeError("Timed out waiting 24000ms for recv operation to complete"), "did not answer within"),
        (DistStoreError("Timed out after 31 seconds waiting for clients. 1/2 clients joined."), "did not answer"),
        (DistNetworkError("Failed to recv, got 0 bytes."), "ended or cannot be reached"),
    ],
)
@pytest.mark.usefixtures("two_processes")
def test_a_lost_process_is_one_line(error: RuntimeError, words: str) -> None:
    found = lost_process(error)
    assert found is not None
    assert words in str(found)
    assert "\n" not in str(found)
    assert (found.status, found.shared) == (1, False)


@pytest.mark.usefixtures("two_processes")
def test_other_errors_stay_what_they_are() -> None:
    assert lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert lost_process(ValueError("Connection closed by peer")) is None


def test_a_single_process_has_lost_nobody() -> None:
    assert lost_process(RuntimeError("Connection closed by peer")) is None
