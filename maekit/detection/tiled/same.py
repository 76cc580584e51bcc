"""Decides which objects of two tiles are one, and what becomes of them."""

from collections.abc import Iterator, Sequence
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
        scores: float64 [K]; an object has the best score of those that it stands for, if they are of its class.
        dropped: the objects that another tile sees better.
        parts: pairs of which each tile sees a part, those of one class first, then those that agree best.
    """

    scores: Floats
    dropped: set[int] = field(default_factory=set)
    parts: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Link:
    """What an object has in common with one of another tile.

    Attributes:
        other: the other's place.
        alike: whether both are of one class.
        same: intersection over union within what both tiles see.
        covered: there, of two that are both cut, the intersection over the smaller.
        holds: share of the other's box that lies in this one's, if the other is cut and this one is not; else 0.
        cut: whether an edge that faces the other's tile cuts this one.
        other_cut: likewise of the other.
    """

    other: int
    alike: bool
    same: float
    covered: float
    holds: float
    cut: bool
    other_cut: bool

    @property
    def agrees(self) -> bool:
        """Whether both may be the same object."""
        return self.same >= (SAME_CLASS if self.alike else ANY_CLASS)

    @property
    def are_parts(self) -> bool:
        """Whether both may be parts of one object."""
        return self.cut and self.other_cut and (self.agrees or (self.alike and self.covered >= COVERED))


def judge(views: Views) -> Verdict:
    """Decides, the surest first, which objects of other tiles each object stands for.

    Two boxes are one object if they agree within what both tiles see; if both are cut, of one class, it is enough that
    there the larger covers the smaller: a tile may see the tip of a digit alone. Of two views the one that the other
    tile's edge does not cut is kept, or the one deeper inside its tile; where both are cut by the edges that face each
    other, they are parts to be joined.
    What is dropped stands for nothing: of a detector that finds an object several times, with other classes and low
    scores, the views would make chains from one object to the next.
    """
    verdict, links, cuts = Verdict(views.scores.copy()), _links(views), views.cut().sum(1)
    for place in sorted(links, key=lambda one: (cuts[one], -views.scores[one])):
        for link in _chosen(views, verdict, links[place]):
            if place in verdict.dropped:
                break
            _settle(views, verdict, place, link)
    pairs = [
        (not link.alike, -(link.same + link.covered), place, link.other)
        for place, found in links.items()
        for link in found
        if link.are_parts and place < link.other and not verdict.dropped & {place, link.other}
    ]
    verdict.parts = [(one, other) for *_, one, other in sorted(pairs)]
    return verdict


def _chosen(views: Views, verdict: Verdict, links: Sequence[Link]) -> Iterator[Link]:
    """Yields the links to what may go: in each tile the one of the same class that agrees best, and what is clear."""
    best: dict[int, float] = {}
    left = [link for link in links if link.other not in verdict.dropped]
    for link in left:
        if link.alike:
            tile = int(views.tile_of[link.other])
            best[tile] = max(best.get(tile, 0.0), link.same)
    for link in left:
        is_best = link.alike and link.agrees and link.same == best[int(views.tile_of[link.other])]
        if is_best or link.same >= ANY_CLASS or link.holds >= COVERED:
            yield link


def _settle(views: Views, verdict: Verdict, place: int, link: Link) -> None:
    """Drops one of two views of an object; none if they are parts."""
    if link.cut and link.other_cut:
        return
    other_is_better = link.cut or (not link.other_cut and _is_deeper(views, link.other, place))
    keeps, goes = (link.other, place) if other_is_better else (place, link.other)
    if not link.alike and verdict.scores[keeps] < HALF * verdict.scores[goes]:
        keeps, goes = goes, keeps
    verdict.dropped.add(goes)
    if link.alike:
        verdict.scores[keeps] = max(verdict.scores[keeps], verdict.scores[goes])


def _is_deeper(views: Views, one: int, other: int) -> bool:
    """Whether an object lies deeper inside the tile of one view than inside another's, or as deep and is larger."""
    boxes = views.boxes[[one, other]]
    centre = ((boxes[:, :2].min(0) + boxes[:, 2:].max(0)) / 2)[None]
    depths = [float(views.depth(int(views.tile_of[place]), centre)[0]) for place in (one, other)]
    sizes = areas(boxes).tolist()
    return (depths[0], sizes[0]) > (depths[1], sizes[1])


def _links(views: Views) -> dict[int, list[Link]]:
    """Returns what each object has in common with those of other tiles, by its place."""
    links: dict[int, list[Link]] = {place: [] for place in range(len(views.scores))}
    cut = views.cut()
    for first, second in touching(views.tiles):
        one, other = views.of(first), views.of(second)
        if not len(one) or not len(other):
            continue
        pair = _Pair(first, second, one, other, *_cut_by(views, cut, first, second))
        same, covered = _agreement(views, pair)
        holds, held = _held(views, pair), _held(views, pair.turned()).T
        alike = views.labels[one][:, None] == views.labels[other][None]
        for row, column in np.argwhere((same > 0) | (covered > 0) | (holds > 0) | (held > 0)).tolist():
            a, b = int(one[row]), int(other[column])
            common = bool(alike[row, column]), float(same[row, column]), float(covered[row, column])
            cuts = bool(pair.one_cut[row]), bool(pair.other_cut[column])
            links[a].append(Link(b, *common, float(holds[row, column]), *cuts))
            links[b].append(Link(a, *common, float(held[row, column]), *cuts[::-1]))
    return links


def _held(views: Views, pair: "_Pair") -> Floats:
    """Returns [k, n], the share of each cut box of the second tile that lies in an uncut one of the first; else 0."""
    reach = views.boxes[pair.one] + views.edge(pair.first) * np.array([-1, -1, 1, 1])
    share = intersections(reach, views.boxes[pair.other]) / areas(views.boxes[pair.other]).clip(min=1e-9)[None]
    return np.asarray(share * (~pair.one_cut)[:, None] * pair.other_cut[None])


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two tiles, the places of what each found, and whether the edge that faces the other one cuts it."""

    first: int
    second: int
    one: NDArray[np.int64]
    other: NDArray[np.int64]
    one_cut: Bools
    other_cut: Bools

    def turned(self) -> "_Pair":
        """Returns the same pair with the second tile first."""
        return _Pair(self.second, self.first, self.other, self.one, self.other_cut, self.one_cut)


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
