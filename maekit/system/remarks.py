"""Other libraries' warnings and log lines, where they are not the user's to mend. Standard library only."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_remarks() -> Iterator[None]:
    """Keeps warnings, and log lines up to the level WARNING, off the terminal while the block runs."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
