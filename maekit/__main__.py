"""`python -m maekit` is `maekit`."""

import sys

from maekit.cli import main

sys.exit(main())
