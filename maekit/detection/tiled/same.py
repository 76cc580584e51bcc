"""Decides which objects of two tiles are one, and what becomes of them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maekit.detection.tiled.views import Bools, Floats, Views, areas, clipped, facing, intersections, overlaps, touching
from maekit.tiles.region import Region

SAME_CLASS, ANY_CLASS = 0.5, 0.7  # intersection over union, within what both tiles see, from which two boxes are one
COVERED = 0.7  # share of a cut object's box from which another covers it
HALF = 0.5  # of the other's score: a better view that is less sure than this of another class does not win
NARROW = 4  # pixels: a narrower overlap shows too little of an object, and only its extent along the seam is compared


@dataclass
class Verdict:
    """What becomes of the objects of all tiles.

    Attributes:
        dropped: the objects that another tile sees better, each with one that stands for it.
        joined: pairs of which each tile sees a part.
        scores: float64 [K]; an object has the best score of those that it stands for, if they are of its class.
    """

    scores: Floats
    dropped: dict[int, int] = field(default_factory=dict)
    joined: list[tuple[int, int]] = field(default_factory=list)


def judge(views: Views) -> Verdict:
    """Compares the objects of each two tiles that touch.

    Two boxes are one object if they agree within what both tiles see; if both are cut, of one class, it is enough that
    there the larger covers the smaller: a tile may see the tip of a digit alone. Of two views the one that the other
    tile's edge does not cut is kept, or the one deeper inside its tile; where both are cut by the edges that face each
    other, they are parts to be joined.
    """
    verdict, cut = Verdict(views.scores.copy()), views.cut()
    for first, second in touching(views.tiles):
        one, other = views.of(first), views.of(second)
        if len(one) and len(other):
            _judge_pair(views, verdict, _Pair(first, second, one, other, *_cut_by(views, cut, first, second)))
    _drop_covered(views, verdict, cut)
    return verdict


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two tiles, the places of what each found, and whether the edge that faces the other one cuts it."""

    first: int
    second: int
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    one_cut: Bools
    other_cut: Bools


def _cut_by(views: Views, cut: Bools, first: int, second: int) -> tuple[Bools, Bools]:
    """Returns of the objects of two tiles whether an edge that faces the other tile cuts them.

    Of tiles that share hardly more than an edge this one alone counts.
    """
    a, b = views.tiles[first], views.tiles[second]
    shared = a.inside(b).size
    across, down = shared.height >= NARROW or shared.width < NARROW, shared.width >= NARROW or shared.height < NARROW
    sides = np.array([across, down, across, down])
    one = cut[views.of(first)] & facing(a, b) & sides
    other = cut[views.of(second)] & facing(b, a) & sides
    return np.asarray(one.any(1)), np.asarray(other.any(1))


def _judge_pair(views: Views, verdict: Verdict, pair: _Pair) -> None:
    same, covered = _agreement(views, pair)
    alike = views.labels[pair.one][:, None] == views.labels[pair.other][None]
    matched = _matches(np.where(alike & ((same >= SAME_CLASS) | (covered >= COVERED)), same + covered, 0))
    for row, column in matched:
        _settle(views, verdict, pair, row, column)
    free_rows = [row for row in range(len(pair.one)) if row not in {row for row, _ in matched}]
    free_columns = [column for column in range(len(pair.other)) if column not in {column for _, column in matched}]
    best = np.where(same >= ANY_CLASS, views.scores[pair.other][None] + same, 0)
    for row in free_rows:
        if best[row].any():
            _settle(views, verdict, pair, row, int(best[row].argmax()), loser=pair.one[row])
    best = np.where(same >= ANY_CLASS, views.scores[pair.one][:, None] + same, 0)
    for column in free_columns:
        if best[:, column].any():
            _settle(views, verdict, pair, int(best[:, column].argmax()), column, loser=pair.other[column])


def _settle(views: Views, verdict: Verdict, pair: _Pair, row: int, column: int, loser: int | None = None) -> None:
    """Joins two views of one object, or drops one of them; where there is a `loser`, only that one can be dropped."""
    a, b = int(pair.one[row]), int(pair.other[column])
    if pair.one_cut[row] and pair.other_cut[column]:
        verdict.joined.append((a, b))
        return
    if pair.one_cut[row] != pair.other_cut[column]:
        keeps = b if pair.one_cut[row] else a
    else:
        boxes = views.boxes[[a, b]]
        low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        centre = ((low + high) / 2)[None]
        keeps = a if views.depth(pair.first, centre)[0] >= views.depth(pair.second, centre)[0] else b
    goes = b if keeps == a else a
    alike = views.labels[a] == views.labels[b]
    if not alike and views.scores[keeps] < HALF * views.scores[goes]:
        keeps, goes = goes, keeps
    if loser is not None and goes != loser:
        return
    verdict.dropped.setdefault(goes, keeps)
    if alike:
        verdict.scores[keeps] = max(verdict.scores[keeps], verdict.scores[goes])


def _agreement(views: Views, pair: _Pair) -> tuple[Floats, Floats]:
    """Returns how well boxes of two tiles agree within what both see, two matrices [k, n] of 0 to 1.

    Returns:
        Their intersection over union; and of boxes that are both cut by the other tile's side their intersection over
        the smaller, else 0.
    """
    shared = views.tiles[pair.first].inside(views.tiles[pair.second])
    one, other = views.boxes[pair.one], views.boxes[pair.other]
    both_cut = pair.one_cut[:, None] & pair.other_cut[None]
    if max(shared.size) < NARROW:  # they meet in a corner: the tiles beside them see more
        nothing = np.zeros(both_cut.shape)
        return nothing, nothing
    if min(shared.size) >= NARROW:
        one, other = _grown(clipped(one, shared)), _grown(clipped(other, shared))
        return overlaps(one, other), _smaller(one, other) * both_cut
    seam = _along(shared)
    one, other = _only(one, seam), _only(other, seam)
    return overlaps(one, other) * both_cut, _smaller(one, other) * both_cut


def _smaller(one: Floats, other: Floats) -> Floats:
    """Returns [k, n], the intersections over the smaller box; 0 where one is empty."""
    shared, least = intersections(one, other), np.minimum(areas(one)[:, None], areas(other)[None])
    return np.asarray(np.divide(shared, least, out=np.zeros(shared.shape), where=least > 0))


def _grown(boxes: Floats) -> Floats:
    """Returns boxes that are 1 pixel larger on each side, as much as detectors err on small objects; not empty ones."""
    return np.asarray(boxes + (areas(boxes) > 0)[:, None] * np.array([-1, -1, 1, 1]))


def _along(shared: Region) -> int:
    """Returns the axis of the boxes' corners along a seam: 0 for x, 1 for y."""
    return 0 if shared.size.width >= shared.size.height else 1


def _only(boxes: Floats, axis: int) -> Floats:
    """Returns boxes of the same extent along an axis and of 1 pixel across it."""
    flat = np.zeros_like(boxes)
    flat[:, axis], flat[:, axis + 2], flat[:, 3 - axis] = boxes[:, axis], boxes[:, axis + 2], 1
    return flat


def _matches(same: Floats) -> list[tuple[int, int]]:
    """Returns pairs of a row and a column, each used once, the highest values first; 0 is no pair."""
    rows, columns = np.nonzero(same)
    order = np.argsort(-same[rows, columns], kind="stable")
    found: list[tuple[int, int]] = []
    used_rows, used_columns = set(), set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            found.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
    return found


def _drop_covered(views: Views, verdict: Verdict, cut: Bools) -> None:
    """Drops what is left of objects cut at a seam within boxes that the tile behind it sees beyond the seam."""
    for first, second in touching(views.tiles):
        for inner, outer in ((first, second), (second, first)):
            cut_inner, cut_outer = _cut_by(views, cut, inner, outer)
            parts = [place for place in views.of(inner)[cut_inner] if place not in verdict.dropped]
            wholes = [place for place in views.of(outer)[~cut_outer] if place not in verdict.dropped]
            if not parts or not wholes:
                continue
            reach = views.boxes[wholes] + views.edge(outer) * np.array([-1, -1, 1, 1])
            share = intersections(views.boxes[parts], reach) / areas(views.boxes[parts]).clip(min=1e-9)[:, None]
            for part, row in zip(parts, share, strict=True):
                if row.max() >= COVERED:
                    verdict.dropped.setdefault(int(part), int(wholes[int(row.argmax())]))
