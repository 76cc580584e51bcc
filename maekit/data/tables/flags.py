"""The flags of a table that divides the images of a dense task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.errors import UserError


@dataclass(kw_only=True, eq=False, repr=False)
class TableFlags:
    """A table with a row for each image.

    Args:
        table: a CSV, TSV or Parquet file with a row for each image, which says what its columns name; its paths begin
            in `root` or beside it.
        path_column: the table's column of the images' paths; null: the one with a usual name, such as `file`.
        split_column: its column that says train, val or test; null: likewise, such as `split`, if there is one. Images
            of test are set aside.
        group_column: its column of what images have in common, such as the patient; a group is never divided between
            training and validation.
        weight_column: its column of what each image counts, above 0: images are drawn by it, with replacement.
    """

    table: str | None = None
    path_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    weight_column: str | None = None

    def require_table(self, *more: str, group_pattern: str | None) -> None:
        """Refuses a column where there is no table, and two ways to name groups.

        Args:
            more: further flags of columns.
            group_pattern: `data.group_pattern`.

        Raises:
            UserError: with the flag.
        """
        names = ("path_column", *more, "split_column", "group_column", "weight_column")
        given = [name for name in names if getattr(self, name) is not None]
        if self.table is None and given:
            raise UserError(f"got data.{given[0]} without data.table, expected both; add --data.table FILE")
        if self.group_column is not None and group_pattern is not None:
            raise UserError("got data.group_column and data.group_pattern, expected one of them; leave one out")

    def table_file(self) -> Path:
        """Returns the absolute path of the table, which must be given."""
        assert self.table is not None
        return Path(self.table).expanduser().absolute()

    def table_columns(self, *more: str) -> dict[str, str | None]:
        """Returns the columns that flags name, of `path`, `split`, `group`, `weight` and more; None for the usual."""
        kinds: Sequence[str] = ("path", *more, "split", "group", "weight")
        return {kind: getattr(self, f"{kind}_column") for kind in kinds}
