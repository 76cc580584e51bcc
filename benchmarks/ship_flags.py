"""Writes the flags of shipped tasks into the package, from which help and mistyped flags are answered without torch.

    python benchmarks/ship_flags.py

`tests/recipes/test_shipped_flags.py` fails where this has been forgotten after a flag, its default or its help changed.
"""

from maekit.recipes.remembered import SHIPPED, shipped_table
from maekit.recipes.tasks import shipped_tasks
from maekit.system.files import atomic_write_text

if __name__ == "__main__":
    table = shipped_table(shipped_tasks())
    atomic_write_text(SHIPPED, table)
    print(f"{SHIPPED}: {len(table):,} characters")
