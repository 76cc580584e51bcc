"""The categories of a COCO file: their ids and names, without those that only group others."""

from collections.abc import Set
from pathlib import Path
from typing import Any

from maekit.detection.data.coco.values import BadEntry, Collector


class CategoryCollector(Collector):
    """Ids, names and supercategories of the categories of one file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "categories")
        self.names: dict[int, str] = {}
        self.parents: dict[int, str] = {}

    def take(self, place: int, entry: dict[str, Any]) -> None:
        """Takes one entry; a name may be a whole number.

        Raises:
            BadEntry: it has no whole id or no name, or an id that another has.
        """
        ident, name = self.whole(place, entry, "id"), entry.get("name")
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip():
            raise self.lacking(place, entry, "name", "that is text")
        if ident in self.names:
            what = f"categories[{place}] has id {ident}, which another category has, expected one of its own"
            raise BadEntry("twice", what)
        self.names[ident] = name.strip()
        parent = entry.get("supercategory")
        self.parents[ident] = parent.strip() if isinstance(parent, str) else ""

    def roots(self, used: Set[int]) -> dict[int, str]:
        """Returns the categories that only group others, as Roboflow's exports have one.

        Such a category has no object, is another's supercategory and has none itself.

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
