"""Makes a task that is given by its path importable, as `maekit.recipes.user_tasks.<name>`, so that it can be pickled.

`__path__` makes this module a package whose only folder is the task's. An environment variable holds that folder, so
that new processes (data-loader workers, other ranks of a distributed run) import the task without being told.
"""

import os

ENVIRONMENT = "MAEKIT_TASK_FOLDER"

__path__ = [os.environ[ENVIRONMENT]] if ENVIRONMENT in os.environ else []
