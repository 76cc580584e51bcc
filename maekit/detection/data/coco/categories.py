"""The categories of a COCO file, and which of them only group others."""

from collections.abc import Set
from pathlib import Path

from maekit.detection.data.coco.entries import CategoryEntry
from maekit.detection.data.coco.values import BadValue, Collector, require_whole


class CategoryCollector(Collector[CategoryEntry]):
    """Ids, names and supercategories of the categories of one file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "categories", CategoryEntry)
        self.names: dict[int, str] = {}
        self.parents: dict[int, str] = {}

    def take(self, entry: CategoryEntry) -> None:
        """Keeps one category; its name may be a whole number.

        Raises:
            BadValue: the id is no whole number or repeated, or the name is empty.
        """
        ident, name = require_whole("id", entry.id), str(entry.name).strip()
        if not name:
            raise BadValue("name", f"got {entry.name!r}, expected text")
        if ident in self.names:
            raise BadValue("id", f"got {ident}, which another category has, expected one of its own")
        self.names[ident] = name
        self.parents[ident] = entry.supercategory.strip() if isinstance(entry.supercategory, str) else ""

    def roots(self, used: Set[int]) -> dict[int, str]:
        """Returns the categories that only group others, as Roboflow's exports have one.

        Such a category has no object and no supercategory, and is another category's supercategory.

        Args:
            used: ids of the categories that have objects.
        """
        return {
            ident: name
            for ident, name in self.names.items()
            if ident not in used
            and self.parents[ident].lower() in ("", "none", "null")
            and any(parent == name for other, parent in self.parents.items() if other != ident)
        }


def same_names(path: Path, names: dict[int, str]) -> list[str]:
    """Returns one line for each name that two categories share."""
    first: dict[str, int] = {}
    lines = []
    for ident, name in names.items():
        other = first.setdefault(name, ident)
        if other != ident:
            advice = "give each category its own name, or make them one"
            lines.append(f"{path}: categories {other} and {ident} both have the name {name!r}; {advice}")
    return lines
