"""Where a task given by its path is imported from, so that its classes can be pickled.

The folder travels in the environment: data-loader workers and the other ranks of a distributed run
are new processes, and import `maekit.recipes.user_tasks.<name>` from there by themselves.
"""

import os

ENVIRONMENT = "MAEKIT_TASK_FOLDER"

__path__ = [os.environ[ENVIRONMENT]] if ENVIRONMENT in os.environ else []
