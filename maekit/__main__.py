"""`python -m maekit` is `maekit`."""

from typing import NoReturn

from maekit.cli import main
from maekit.system.processes import leave


def run() -> NoReturn:
    """Runs one command and ends the process."""
    leave(main())


if __name__ == "__main__":
    run()
