"""Makes one list of the objects that the tiles of an image found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maekit.detection.tiled.same import COVERED, judge
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
    kept = [place for place in range(len(views.scores)) if place not in verdict.dropped]
    found = [_object(views, verdict.scores, group) for group in _groups(views, kept, verdict.parts)]
    parts = [one for one in found if len(one.views) > 1]
    joined = {label: [part for part in parts if part.label == label] for label in {part.label for part in parts}}
    boxes = {label: np.array([part.box for part in each]) for label, each in joined.items()}
    found = [
        one
        for one in found
        if len(one.views) > 1
        or one.label not in joined
        or not _in_a_joined(views, one, joined[one.label], boxes[one.label])
    ]
    return sorted(found, key=lambda one: -one.score)


def _groups(views: Views, kept: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Returns what is kept in groups that pairs connect, of no more than one view a tile.

    A view that would be a tile's second one in its group is another view of the same object, and is left out if it
    has joined nothing else.
    """
    group_of = {place: [place] for place in kept}
    seconds: list[int] = []
    for one, other in pairs:
        a, b = group_of[one], group_of[other]
        if a is b:
            continue
        if set(views.tile_of[a].tolist()) & set(views.tile_of[b].tolist()):
            seconds += [one, other]
            continue
        a += b
        group_of.update((place, a) for place in b)
    for place in seconds:
        if len(group_of.get(place, ())) == 1:
            del group_of[place]
    return list({id(group): group for group in group_of.values()}.values())


def _object(views: Views, scores: Floats, group: Sequence[int]) -> Joined:
    boxes = views.boxes[list(group)]
    x0, y0 = boxes[:, :2].min(0).tolist()
    x1, y1 = boxes[:, 2:].max(0).tolist()
    best = max(group, key=lambda place: float(scores[place]))
    return Joined((x0, y0, x1, y1), float(scores[best]), int(views.labels[best]), tuple(group))


def _in_a_joined(views: Views, one: Joined, parts: Sequence[Joined], boxes: Floats) -> bool:
    """Whether an object lies in one of `parts`, those of its class that were joined, with `boxes`, of other tiles."""
    box = np.array([one.box])
    shares = intersections(box, boxes)[0] / max(float(areas(box)[0]), 1e-9)
    tile = int(views.tile_of[one.views[0]])
    covering = (parts[place] for place in np.flatnonzero(shares >= COVERED).tolist())
    return any(tile not in views.tile_of[list(part.views)] for part in covering)
