"""Writes the results of `maekit cluster`: a table of all images, and sheets of those nearest each centre."""

import csv
import io
from collections import Counter
from pathlib import Path

from PIL import Image

from maekit.drawing.files import Seen
from maekit.drawing.sheet import Row, Tile, contact_sheet, named_with_folder, picture_sheet, thumbnail
from maekit.drawing.views import fitted
from maekit.features.files.folder import FeatureFolder
from maekit.features.neighbours.clusters import Clusters
from maekit.system.files import atomic_write

COLUMNS, SHEET_IMAGES = 6, 24
OVERVIEW_IMAGES, OVERVIEW_SIDE, OVERVIEW_ROWS = 10, 96, 60


def write_results(folder: FeatureFolder, clusters: Clusters, output: Path, images: Path | None = None) -> None:
    """Writes clusters.csv, cluster_000.png and so on, and overview.png; sheets of clusters that are gone are removed.

    Args:
        folder: the features.
        clusters: of its rows.
        output: a folder; created if missing.
        images: where the images are now, if they have moved.
    """
    if (output / "clusters.csv").is_file():
        for old in output.glob("cluster_[0-9][0-9][0-9]*.png"):
            old.unlink()
    _write_table(folder, clusters, output / "clusters.csv")
    overview, seen = [], Seen(folder.metadata["transform"])
    for number in range(int(clusters.assigned.max()) + 1):
        rows = clusters.members(number).tolist()
        heading = f"cluster {number}: {len(rows):,} images{_classes(folder, rows)}"
        nearest = [(folder.image(row, images), clusters.distance[row]) for row in rows[:SHEET_IMAGES]]
        tiles = [
            Tile(thumbnail(path, seen), (f"{distance:.3f}", named_with_folder(path))) for path, distance in nearest
        ]
        title = f"{heading}; the nearest to its centre, with their distance"
        sheet = contact_sheet(tiles, columns=min(COLUMNS, len(tiles)), title=title)
        _save(sheet, output / f"cluster_{number:03}.png")
        if number < OVERVIEW_ROWS:
            small = [Tile(tile.image and fitted(tile.image, OVERVIEW_SIDE)) for tile in tiles[:OVERVIEW_IMAGES]]
            overview.append(Row(heading, small))
    _save(picture_sheet(overview, column=OVERVIEW_SIDE), output / "overview.png")


def _write_table(folder: FeatureFolder, clusters: Clusters, path: Path) -> None:
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        table = csv.writer(text)
        labels = folder.labels.tolist() if folder.labels is not None else None
        table.writerow(["file", "cluster", "distance", *(["class"] if labels else [])])
        for row, name in enumerate(folder.files):
            own = [folder.classes[labels[row]]] if labels else []
            table.writerow([name, int(clusters.assigned[row]), f"{clusters.distance[row]:.6f}", *own])
        text.flush()
        text.detach()


def _classes(folder: FeatureFolder, rows: list[int]) -> str:
    """The two most frequent classes of a cluster, with their shares."""
    if folder.labels is None:
        return ""
    counts = Counter(folder.labels[rows].tolist()).most_common(2)
    return ", " + ", ".join(f"{100 * count / len(rows):.0f} % {folder.classes[label]}" for label, count in counts)


def _save(sheet: Image.Image, path: Path) -> None:
    with atomic_write(path) as file:
        sheet.save(file, "PNG")
