"""Makes one list of the objects that the tiles of an image found."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maekit.detection.tiled.same import COVERED, Verdict, judge
from maekit.detection.tiled.views import Floats, Views, areas, intersections


@dataclass(frozen=True)
class Joined:
    """One object of an image.

    Attributes:
        box: x0 y0 x1 y1 in pixels of the image.
        score: 0 to 1, the best of its views.
        label: of the view with the best score.
        views: the places in `Views` of those that show it: one, or several whose parts are joined.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    views: tuple[int, ...]


def join(views: Views) -> list[Joined]:
    """Returns the objects of an image, each once, the highest score first."""
    verdict = judge(views)
    kept = _kept(len(views.scores), verdict)
    pairs = [(_survivor(one, verdict), _survivor(other, verdict)) for one, other in verdict.joined]
    groups = _groups(kept, pairs)
    found = [_object(views, verdict.scores, group) for group in groups]
    parts = [one for one in found if len(one.views) > 1]
    found = [one for one in found if len(one.views) > 1 or not _in_a_joined(views, one, parts)]
    return sorted(found, key=lambda one: -one.score)


def _kept(count: int, verdict: Verdict) -> list[int]:
    """Returns what is not dropped, and of views that were dropped for each other in a circle the one of best score."""
    kept = {place for place in range(count) if place not in verdict.dropped}
    for place in verdict.dropped:
        seen = _line(place, verdict)
        if seen[-1] in verdict.dropped and not kept.intersection(seen):
            kept.add(max(seen, key=lambda one: float(verdict.scores[one])))
    return sorted(kept)


def _survivor(place: int, verdict: Verdict) -> int:
    """Returns what stands for a view in the end: a part of a view is a part of what was kept in its place."""
    return _line(place, verdict)[-1]


def _line(place: int, verdict: Verdict) -> list[int]:
    """Returns a view, the one that it was dropped for, the one that this was dropped for, and so on, each once."""
    line = [place]
    while line[-1] in verdict.dropped and verdict.dropped[line[-1]] not in line:
        line.append(verdict.dropped[line[-1]])
    return line


def _groups(kept: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Returns what is kept in groups that pairs connect."""
    parent: dict[int, int] = {place: place for place in kept}

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for one, other in pairs:
        if one in parent and other in parent:
            parent[root(other)] = root(one)
    groups: Mapping[int, list[int]] = defaultdict(list)
    for place in kept:
        groups[root(place)].append(place)
    return [tuple(group) for group in groups.values()]


def _object(views: Views, scores: Floats, group: tuple[int, ...]) -> Joined:
    boxes = views.boxes[list(group)]
    x0, y0 = boxes[:, :2].min(0).tolist()
    x1, y1 = boxes[:, 2:].max(0).tolist()
    best = max(group, key=lambda place: float(scores[place]))
    return Joined((x0, y0, x1, y1), float(scores[best]), int(views.labels[best]), group)


def _in_a_joined(views: Views, one: Joined, parts: Sequence[Joined]) -> bool:
    """Whether an object lies in one of the same class that was joined from other tiles."""
    tile = views.tile_of[one.views[0]]
    others = [part for part in parts if part.label == one.label and tile not in views.tile_of[list(part.views)]]
    if not others:
        return False
    box = np.array([one.box])
    shared = intersections(box, np.array([part.box for part in others]))
    return bool((shared / max(float(areas(box)[0]), 1e-9)).max() >= COVERED)
