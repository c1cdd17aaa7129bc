r"""Bagged trees as flat arrays: grown against synthetic records, pruned, and read as boxes.

A forest cuts the space of records once per tree. A leaf is a box \((l_1, h_1] \times \dots \times (l_d, h_d]\) in the *features*
of a code: numbers as they are, the levels of a category by their rank in an order that puts like levels side by side. A number
whose gate is shut lies at \(-\infty\), below every threshold; one that is unknown is NaN and lies on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..layout import Layout
from ._levels import Levels
from ._normals import standard

LOWEST = -1.7e308  # the lower end of a box that holds every number, and not the absent one
DEEPER = 4  # steps down a tree between looks at who has arrived
ORDERING = 5_000  # records that decide on the order of levels


class Features:
    """Codes as trees see them.

    Arguments:
        layout: What the columns mean.
        rank: `(width,)` place of every level in the order of its column.
    """

    def __init__(self, layout: Layout, rank: Tensor) -> None:
        self.layout, self.levels, self.rank = layout, Levels(layout), rank
        self.gates = {j: gate for s, gate in layout.gates for j in range(s.start, s.stop)}

    def __call__(self, x: Tensor) -> Tensor:
        """Return features `(n, d)`, float64: ranks of levels, -inf for absent numbers, NaN for what is unknown."""
        out = x.double().clone()
        for i, j in enumerate(self.levels.columns):
            rank = self.rank[int(self.levels.start[i]) :][: self.levels.counts[i]].double()
            level = torch.nan_to_num(out[:, j]).long()
            out[:, j] = torch.where(torch.isnan(out[:, j]), torch.nan, rank[level])
        for j, gate in self.gates.items():
            out[:, j] = out[:, j].masked_fill(torch.nan_to_num(x[:, gate]) != 0, -torch.inf)
        return out

    def completed(self, features: Tensor, rng: torch.Generator) -> Tensor:
        """Return features without NaN: what is unknown comes from another record, column by column."""
        out = features.clone()
        for j in torch.nonzero(torch.isnan(features).any(0))[:, 0].tolist():
            hole = torch.isnan(out[:, j])
            # A number behind an open gate takes the place of one that is there.
            known = out[~hole & (torch.isfinite(out[:, j]) if j in self.gates else ~hole), j]
            some = torch.randint(max(1, len(known)), (int(hole.sum()),), generator=rng)
            out[hole, j] = known[some] if len(known) else 0.0
        return out

    @cached_property
    def units(self) -> list[list[int]]:
        """Columns that belong together: a gate with the numbers behind it, every other column alone."""
        behind: dict[int, list[int]] = {}
        for j, gate in self.gates.items():
            behind.setdefault(gate, []).append(j)
        return [[j, *behind.get(j, [])] for j in range(self.layout.size) if j not in self.gates]


def like_levels(x: Tensor, layout: Layout) -> Tensor:
    """Return ranks `(width,)` that put levels side by side whose records are alike: a correspondence analysis of every column."""
    levels, x = Levels(layout), x[:ORDERING]
    rank = torch.arange(levels.width) - levels.start[levels.owner]
    columns = [i for i, count in enumerate(levels.counts) if count > 2]
    if not columns:
        return rank
    numbers = x[:, layout.columns("real")].double()
    centre, scale = standard(numbers)
    one_hot = levels.one_hot(x[:, levels.columns])
    share = one_hot.mean(0)
    traits = torch.cat(
        [torch.nan_to_num((numbers - centre) / scale), (one_hot - share) / share.sqrt().clamp_min(1e-3)], 1
    )
    for i in columns:
        own = slice(int(levels.start[i]), int(levels.start[i]) + levels.counts[i])
        count = one_hot[:, own].sum(0).clamp_min(1e-9).sqrt()[:, None]
        mean = one_hot[:, own].T @ traits / count
        mean[:, numbers.shape[1] + own.start : numbers.shape[1] + own.stop] = 0  # it is like itself, whatever it is
        leading = torch.linalg.eigh(mean @ mean.T)[1][:, -1:] / count
        rank[own] = leading[:, 0].argsort(stable=True).argsort()
    return rank


@dataclass(frozen=True)
class Trees:
    """Binary trees, level by level: first the roots, then pairs of children in the order of their parents.

    Arguments:
        feature: `(nodes,)` int32 column of the split, -1 at a leaf.
        threshold: `(nodes,)` float64: records with a feature up to it go left.
        count: Number of trees.
    """

    feature: Tensor
    threshold: Tensor
    count: int

    def check(self, d: int) -> None:
        """Raise ValueError unless these are trees over `d` columns."""
        if self.feature.dtype != torch.int32 or self.feature.ndim != 1 or self.threshold.shape != self.feature.shape:
            raise ValueError("a node of a tree needs a column and a threshold")
        if self.threshold.dtype != torch.float64 or bool(
            (self.threshold.isnan() | (self.threshold == torch.inf)).any()
        ):
            raise ValueError("thresholds must be numbers")
        if not bool(((self.feature >= -1) & (self.feature < d)).all()):
            raise ValueError("a tree splits a column that there is not")
        inner = int((self.feature >= 0).sum())
        if not 1 <= self.count <= len(self.feature) or len(self.feature) != self.count + 2 * inner:
            raise ValueError("every split needs two children")
        if not bool((self.left[self.feature >= 0] > torch.nonzero(self.feature >= 0)[:, 0]).all()):
            raise ValueError("children must come after their parents")

    @cached_property
    def left(self) -> Tensor:
        """The left child of every inner node, `(nodes,)`; the right one follows it."""
        return self.count + 2 * ((self.feature >= 0).cumsum(0) - 1)

    @cached_property
    def leaf(self) -> Tensor:
        """The number of every leaf among all leaves, `(nodes,)`."""
        return (self.feature < 0).cumsum(0) - 1

    @property
    def leaves(self) -> int:
        """Number of leaves of all trees."""
        return int((self.feature < 0).sum())

    def sizes(self) -> list[tuple[int, int]]:
        """Return leaves and depth of every tree."""
        tree, leaves, depth, first = torch.arange(self.count), torch.zeros(self.count), torch.zeros(self.count), 0
        floor = 0
        while len(tree):
            inner = self.feature[first : first + len(tree)] >= 0
            leaves += torch.bincount(tree[~inner], minlength=self.count)
            depth[tree] = floor
            first, floor, tree = first + len(tree), floor + 1, tree[inner].repeat_interleave(2)
        return list(zip(leaves.int().tolist(), depth.int().tolist(), strict=True))

    @cached_property
    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Column, threshold and left child of every node; a leaf leads to itself."""
        inner = self.feature >= 0
        return (
            torch.where(inner, self.feature.long(), 0),
            self.threshold.masked_fill(~inner, torch.inf),
            torch.where(inner, self.left, torch.arange(len(inner))),
        )

    def leaf_of(self, features: Tensor, tree: int) -> Tensor:
        """Return the leaf of every record `(n, d)` without NaN in one tree, `(n,)`."""
        column, threshold, left = self._steps
        flat, start = features.reshape(-1), torch.arange(len(features)) * features.shape[1]
        node = torch.full((len(features),), tree)
        out, rows = node.clone(), torch.arange(len(features))
        while len(rows):
            for _ in range(DEEPER):
                value = flat.index_select(0, start + column.index_select(0, node))
                node = left.index_select(0, node) + (value > threshold.index_select(0, node))
            inner = self.feature.index_select(0, node) >= 0
            if 2 * int(inner.sum()) < len(rows):  # those on the way go on alone
                out[rows] = node
                rows, start, node = rows[inner], start[inner], node[inner]
        return self.leaf.index_select(0, out)

    def compatible(self, features: Tensor, most: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (rows, leaves) of all leaves of all trees that may hold records `(n, d)`; NaN lies on both sides.

        Arguments:
            features: `(n, d)`.
            most: Pairs of a record and a leaf held at once, about.
        """
        for part in torch.arange(len(features)).split(max(1, most // self.leaves)):
            rows = part.repeat_interleave(self.count)
            node = torch.arange(self.count).repeat(len(part))
            found: list[tuple[Tensor, Tensor]] = []
            while len(rows):
                feature = self.feature[node].long()
                inner = feature >= 0
                found.append((rows[~inner], self.leaf[node[~inner]]))
                rows, node = rows[inner], node[inner]
                value = features[rows, feature[inner]]
                low = ~(value > self.threshold[node])  # also where it is unknown
                high = ~(value <= self.threshold[node])
                left = self.left[node]
                rows, node = torch.cat([rows[low], rows[high]]), torch.cat([left[low], left[high] + 1])
            at, leaf = (torch.cat(t) for t in zip(*found, strict=True))
            order = torch.argsort(at, stable=True)
            yield at[order], leaf[order]

    def boxes(self, d: int) -> tuple[Tensor, Tensor]:
        """Return the lower and upper ends of all leaves, `(leaves, d)` float64."""
        low = torch.full((self.count, d), -torch.inf, dtype=torch.float64)
        high = torch.full((self.count, d), torch.inf, dtype=torch.float64)
        lows, highs, first = [], [], 0
        while len(low):
            feature = self.feature[first : first + len(low)].long()
            threshold = self.threshold[first : first + len(low)]
            inner = feature >= 0
            lows.append(low[~inner])
            highs.append(high[~inner])
            first += len(low)
            column, at = feature[inner], torch.arange(int(inner.sum()))
            low, high = low[inner].repeat_interleave(2, 0), high[inner].repeat_interleave(2, 0)
            high[2 * at, column] = torch.minimum(high[2 * at, column], threshold[inner])
            low[2 * at + 1, column] = torch.maximum(low[2 * at + 1, column], threshold[inner].clamp_min(LOWEST))
        return torch.cat(lows), torch.cat(highs)

    @classmethod
    def read(cls, forest: list[Any], x: np.ndarray, least: int) -> Self:
        """Return scikit-learn's fitted trees, pruned until every leaf holds at least `least` of the records `x`."""
        sizes = [t.tree_.node_count for t in forest]
        first = np.cumsum([0, *sizes[:-1]])
        feature = torch.from_numpy(np.concatenate([t.tree_.feature for t in forest]))
        threshold = torch.from_numpy(np.concatenate([t.tree_.threshold for t in forest]))
        children = [[t.tree_.children_left + a, t.tree_.children_right + a] for t, a in zip(forest, first, strict=True)]
        left, right = (torch.from_numpy(np.concatenate(side)) for side in zip(*children, strict=True))
        held = [np.bincount(t.tree_.apply(x), minlength=m) for t, m in zip(forest, sizes, strict=True)]
        roots = torch.from_numpy(first)
        inner = feature >= 0
        count = _add_up(torch.from_numpy(np.concatenate(held)), roots, inner, left, right)
        alive = count >= least
        alive[roots] = True
        both = inner & alive[left.clamp_min(0)] & alive[right.clamp_min(0)]
        # Where one side of a split is too thin, the other side takes its place.
        heir = torch.arange(len(feature))
        one = inner & ~both & (alive[left.clamp_min(0)] | alive[right.clamp_min(0)])
        heir[one] = torch.where(alive[left[one]], left[one], right[one])
        while not bool(torch.equal(further := heir[heir], heir)):
            heir = further
        nodes, found = heir[roots], []
        while len(nodes):
            found.append(nodes)
            split = nodes[both[nodes]]
            nodes = torch.stack([heir[left[split]], heir[right[split]]], 1).flatten()
        order = torch.cat(found)
        return cls(
            torch.where(both, feature, -1)[order].to(torch.int32), torch.where(both, threshold, 0.0)[order], len(roots)
        )


def _add_up(count: Tensor, roots: Tensor, inner: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return how many records every node holds, given those of the leaves."""
    floors, nodes = [], roots
    while len(nodes):
        split = nodes[inner[nodes]]
        floors.append(split)
        nodes = torch.cat([left[split], right[split]])
    for split in reversed(floors):
        count[split] = count[left[split]] + count[right[split]]
    return count
