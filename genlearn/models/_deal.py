"""Which component of a large mixture every record starts in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._axis import Axis
from ._levels import Levels
from ._mixed import Rows, Tables
from ._starts import closest

APART = 2.0  # length of a level's axis, where that of a number is one deviation of its scores
LABEL = 0.1  # least squared length of the label's axis, for each other column


class Traits:
    """Records as points, so that near ones start together: numbers as normal scores, levels as corners far apart.

    Arguments:
        levels: The columns.
        axis: The cells of numbers.
        labels: Code columns of the label, which separates more the more columns there are.
    """

    def __init__(self, levels: Levels, axis: Axis, labels: Sequence[int]) -> None:
        width, columns = levels.width, len(levels.counts)
        numbers = torch.unique(levels.owner[axis.at])
        corners = torch.ones(width, dtype=torch.bool)
        corners[axis.at] = False
        length = torch.full((columns,), APART)
        pull = max(APART, (LABEL * columns) ** 0.5)
        for i, j in enumerate(levels.columns):
            length[i] = pull if j in labels else APART
        self.size = len(numbers) + int(corners.sum())
        # Every level has a point: a number's score on its axis, or one corner; an unknown value is at zero.
        self.feature = torch.zeros(width + 1, dtype=torch.long)
        self.value = torch.zeros(width + 1)
        self.feature[axis.at] = axis.owner
        self.value[axis.at] = axis.typical.float()
        self.feature[:-1][corners] = len(numbers) + torch.arange(int(corners.sum()))
        self.value[:-1][corners] = length[levels.owner[corners]]

    def points(self, places: Tensor) -> Tensor:
        """Return `(n, features)` float32 of records given as places."""
        at = places.long()
        return torch.zeros(len(at), self.size).scatter_add_(1, self.feature[at], self.value[at])

    def deal(self, rows: Rows, k: int, rng: torch.Generator) -> Tensor:
        """Return the nearest of `k` records drawn at random for every record, `(n,)`."""
        seeds = torch.randperm(rows.n, generator=rng)[:k]
        size = len(rows.chunks[0][0])
        own = torch.stack([rows.chunks[int(s) // size][0][int(s) % size] for s in seeds])
        centres = self.points(own)
        return torch.cat([closest(self.points(at), centres) for at, *_ in rows.chunks])


def inherited(parents: Tables, rows: Rows, labels: Tensor, k: int) -> Tensor:
    """Return `(width, k)` tables for the pseudo-records of every component: its records' shares of the parents."""
    shares = torch.zeros(len(parents), k, dtype=torch.float64)
    for (_, _, r), own in zip(rows.visit(parents), labels.split(len(rows.chunks[0][0])), strict=True):
        shares.index_add_(1, own, r.T.double())
    shares += 1e-9 * parents.weights[:, None]
    return parents.tables @ (shares / shares.sum(0))
