"""What a run tells on the terminal, in lines."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from maekit.data.loader import worker_error_line
from maekit.errors import UserError
from maekit.run_folder import rank


@contextmanager
def one_line_errors(changed: Sequence[str]) -> Iterator[None]:
    """Says in one line what torch says in many: a worker's fault, a full memory, a model that is not the checkpoint's.

    Args:
        changed: how the settings differ from those of the checkpoint that is loaded.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory on the device: {str(error).splitlines()[0]}; halve --data.device_batch_size (the total "
            "batch stays the recipe's), or add --model.gradient_checkpointing true"
        ) from error
    except (UserError, RuntimeError) as error:
        line = worker_error_line(error)
        if line is None and "Error(s) in loading state_dict" in str(error):
            line = f"the checkpoint does not fit the model; {'; '.join(changed) or 'it was made by another version'}"
        if line is None:
            raise
        raise UserError(line) from error


def say(line: str) -> None:
    """Prints a line of the run's story, on the first rank."""
    if rank() == 0:
        print(line, flush=True)


def say_all(lines: Iterable[str]) -> None:
    """Prints several lines."""
    for line in lines:
        say(line)
