"""Which images of a detection data set are for training and which for validation: the flags."""

from dataclasses import dataclass
from pathlib import Path

from maekit.data.folders.shares import Share
from maekit.data.tables.flags import TableFlags
from maekit.detection.data.listed import Listed


@dataclass(kw_only=True, eq=False, repr=False)
class Division(TableFlags):
    """Two lists of images, or one that a table, a share or a fold divides.

    Args:
        val_fraction: share of the images set aside for validation where there is one list only, above 0 and below 1;
            each class in its proportion, as far as images with several allow.
        split_seed: chooses which images that share holds.
        fold: the second of five folds is 2/5: that fold is for validation, the others for training; null for a share.
        group_pattern: regular expression whose first group in an image's name is its group, as ^([^_]+)_ for a
            patient; images of one group are never on both sides.
    """

    val_fraction: float = 0.1
    split_seed: int = 0
    fold: str | None = None
    group_pattern: str | None = None

    def checked_share(self) -> Share:
        """Returns the share or the fold that the flags ask for.

        Raises:
            UserError: a flag is out of range, or two exclude each other.
        """
        self.require_table(group_pattern=self.group_pattern)
        return Share(self.val_fraction, self.split_seed, self.fold, self.group_pattern)

    def listed(self, root: Path | None) -> Listed | None:
        """Returns the table, whose paths may begin in the data folder; None without one."""
        if self.table is None:
            return None
        return Listed(self.table_file(), self.table_columns(), root or self.table_file().parent)
