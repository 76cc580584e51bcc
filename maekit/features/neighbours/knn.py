"""Nearest neighbours by cosine similarity, exact and in bounded memory, and the classes they vote for."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from maekit.errors import UserError

BANK_ROWS = 16384  # of the bank at a time: with 1024 queries 64 MiB of similarities


class Rows(Protocol):
    """Rows [M, D] that are read a part at a time, as a tensor is or an array on disk."""

    @property
    def ndim(self) -> int:
        """Number of axes, 2."""

    @property
    def shape(self) -> torch.Size:
        """M and D."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice) -> Tensor: ...


class Neighbours(NamedTuple):
    """The K nearest rows of a bank, the nearest first; equally near ones stand in no particular order.

    `similarity` [Q, K] float32 is the cosine, in [-1, 1], 0 for a vector of zeros; `rows` [Q, K] int64 are which
    rows they are.
    """

    similarity: Tensor
    rows: Tensor


def nearest_neighbours(
    queries: Tensor, bank: Tensor | Rows, neighbours: int, *, exclude_self: bool = False, batch: int = 1024
) -> Neighbours:
    """Finds each query's nearest rows of the bank, on the queries' device.

    Args:
        queries: [Q, D], of any floating type.
        bank: [M, D]; it may lie elsewhere (as a memory-mapped file does) and is taken a part at a time.
        neighbours: K, at most M, or M - 1 with `exclude_self`.
        exclude_self: the queries are the bank itself, and row i is not a neighbour of row i.
        batch: queries at a time.

    Raises:
        UserError: more neighbours are asked for than there are, widths differ, or a feature is not finite.
    """
    _check(queries, bank, neighbours, exclude_self)
    found = Neighbours(
        torch.full((len(queries), neighbours), -torch.inf, device=queries.device),
        torch.zeros((len(queries), neighbours), dtype=torch.int64, device=queries.device),
    )
    _refuse_not_finite(torch.split(queries, batch), "the queries")
    for first in range(0, len(bank), BANK_ROWS):
        part = bank[first : first + BANK_ROWS].to(queries.device, non_blocking=True)
        _refuse_not_finite([part], "the bank")
        rows = F.normalize(part.float(), dim=1)
        for start in range(0, len(queries), batch):
            place = slice(start, start + batch)
            similarity = F.normalize(queries[place].float(), dim=1) @ rows.T
            if exclude_self:
                own = torch.arange(start, start + len(similarity), device=queries.device) - first
                similarity.masked_fill_(own[:, None] == torch.arange(len(rows), device=queries.device), -torch.inf)
            _merge(found, place, similarity, first)
    return found


def vote(found: Neighbours, labels: Tensor, num_classes: int, temperature: float | None) -> Tensor:
    """Returns each class's share of the neighbours' votes: [Q, C] float32, rows that sum to one.

    Args:
        found: the neighbours.
        labels: [M] integers of the bank, 0 to C - 1.
        num_classes: C.
        temperature: T, above 0; a neighbour of similarity s has exp(s / T) votes (DINO, arXiv 2104.14294). None: one.

    Raises:
        UserError: the temperature is not above 0.
    """
    votes = _votes(found, temperature)
    scores = votes.new_zeros(len(votes), num_classes)
    scores.scatter_add_(1, _of_rows(labels, found).to(votes.device, torch.int64), votes)
    return scores / votes.sum(dim=1, keepdim=True)


def mean_of_neighbours(found: Neighbours, targets: Tensor, temperature: float | None) -> Tensor:
    """Returns the mean of the neighbours' targets, each counting as much as its votes: [Q, N] float32; see `vote`.

    Args:
        found: the neighbours.
        targets: [M, N] of the bank: 0 and 1 for labels, values, or the numbers of grades.
        temperature: see `vote`.
    """
    votes = _votes(found, temperature)
    near = _of_rows(targets, found).to(votes.device, torch.float32)
    return (votes[:, :, None] * near).sum(dim=1) / votes.sum(dim=1, keepdim=True)


def _of_rows(targets: Tensor, found: Neighbours) -> Tensor:
    """The targets of the neighbours alone, [Q, K, ...]: those of a large bank stay where they are."""
    return targets[found.rows.to(targets.device)]


def _votes(found: Neighbours, temperature: float | None) -> Tensor:
    """How many votes each neighbour has, [Q, K]."""
    if temperature is not None and not temperature > 0:
        raise UserError(f"temperature: got {temperature}, expected above 0, or a majority vote without one")
    votes = torch.ones_like(found.similarity)
    if temperature is not None:
        nearest = found.similarity[:, :1]  # dividing all by the largest changes no share, and nothing overflows
        votes = ((found.similarity - nearest) / temperature).exp()
    return votes


def knn_scores(
    queries: Tensor,
    bank: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    neighbours: int,
    temperature: float | None = 0.07,
    exclude_self: bool = False,
    batch: int = 1024,
) -> Tensor:
    """Returns each class's share of the votes of a query's nearest neighbours: [Q, C] float32 on the queries' device.

    Args:
        queries: [Q, D], of any floating type.
        bank: [M, D].
        labels: [M] integers of the bank, 0 to C - 1.
        num_classes: C.
        neighbours: how many vote.
        temperature: as `vote` takes it.
        exclude_self: the queries are the bank itself (leave-one-out).
        batch: queries at a time.

    Raises:
        UserError: as `nearest_neighbours` and `vote`.
    """
    found = nearest_neighbours(queries, bank, neighbours, exclude_self=exclude_self, batch=batch)
    return vote(found, labels.to(found.rows.device), num_classes, temperature)


def top_k_accuracy(scores: Tensor, labels: Tensor, k: int) -> float:
    """Returns the share of rows, 0 to 1, whose true class is among the k best.

    Of equal scores the lower label stands first. A class without a vote is no answer, however few have one.

    Args:
        scores: [Q, C].
        labels: [Q] int64.
        k: 1 or more.
    """
    labels = labels.to(scores.device)[:, None]
    own = scores.gather(1, labels)
    order = torch.arange(scores.shape[1], device=scores.device)
    before = ((scores > own) | ((scores == own) & (order < labels))).sum(dim=1)
    return ((before < k) & (own[:, 0] > 0)).double().mean().item()


def _check(queries: Tensor, bank: Tensor | Rows, neighbours: int, exclude_self: bool) -> None:
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1]:
        raise UserError(
            f"got queries {list(queries.shape)} and a bank {list(bank.shape)}, expected [Q, D] and [M, D] of one "
            "width; embed both with the same weights and pooling"
        )
    most = len(bank) - exclude_self
    if not 1 <= neighbours <= most:
        others = "others " if exclude_self else ""
        raise UserError(f"neighbours: got {neighbours}, expected 1 to {most}, as many {others}as there are features")


def _refuse_not_finite(parts: Sequence[Tensor], whose: str) -> None:
    if parts and not torch.stack([part.isfinite().all() for part in parts]).all():  # read once
        raise UserError(f"NaN or infinite features in {whose}; check the weights, and embed again")


def _merge(found: Neighbours, place: slice, similarity: Tensor, first: int) -> None:
    """Puts the nearest of some rows of the bank, of which `first` is the first, among those found so far."""
    count = found.similarity.shape[1]
    near = similarity.topk(min(count, similarity.shape[1]), dim=1)
    values = torch.cat([found.similarity[place], near.values], dim=1)
    indices = torch.cat([found.rows[place], near.indices + first], dim=1)
    best = values.topk(count, dim=1)
    found.similarity[place] = best.values
    found.rows[place] = indices.gather(1, best.indices)
