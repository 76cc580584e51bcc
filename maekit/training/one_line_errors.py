"""Turns long errors of torch into a UserError of one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from maekit.data.loader import worker_error_line
from maekit.errors import UserError
from maekit.training.compiling import compile_failure
from maekit.training.processes.lost import lost_process


@contextmanager
def one_line_errors(changed: Sequence[str]) -> Iterator[None]:
    """Turns failed workers and compilations, out of memory, lost processes and unfit checkpoints into UserErrors.

    Args:
        changed: lines that say how the settings differ from those of the checkpoint; [] if none is resumed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of memory on the device: {str(error).splitlines()[0]}; halve --data.device_batch_size (the total "
            "batch stays the recipe's), or add --model.gradient_checkpointing true"
        ) from error
    except (UserError, RuntimeError) as error:
        if (lost := lost_process(error)) is not None:
            raise lost from error
        line = worker_error_line(error)
        if line is None and (failure := compile_failure(error)):
            line = f"torch could not compile ({failure}); leave out --run.compile true, or install what is missing"
        if line is None and "Error(s) in loading state_dict" in str(error):
            line = _misfit(changed)
        if line is None:
            raise
        raise UserError(line) from error


def _misfit(changed: Sequence[str]) -> str:
    """Says why a checkpoint does not fit: of the changed settings only those of model and data decide about shapes."""
    found = [line.removeprefix("changed: ") for line in changed]
    shapes = [line for line in found if line.startswith(("model.", "data."))]
    if not shapes:
        return "the checkpoint does not fit the model: it was made by another version; use it as --model.weights FILE"
    return (
        f"the checkpoint does not fit the model ({'; '.join(shapes)}); leave that as it was, or take its weights alone "
        "with --model.weights FILE"
    )
