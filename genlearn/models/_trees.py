r"""Trees on levels: grown best-first from counts, pruned by what left-out records say, with smoothed tables in their nodes.

A split sends a record left if its level in one column lies in a range: \(l \le x_c \le h\). For numbers, whose levels are
intervals, the range is a prefix; for categories it is one level against the rest. Level -1 says that there is no value.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PLACES = 6_000  # most levels of all numbers together
GROUPS = 4  # groups of levels by which columns are compared


def most_levels(asked: int, n: int, d: int) -> int:
    """Return how many levels each of `d` numbers gets from `n` records: fewer than asked where records are few or wide."""
    return min(asked, max(8, min(round(2 * n**0.4), PLACES // max(1, d))))


@dataclass
class Tree:
    """Nodes of a tree, the root first, parents before children; a leaf has `left` 0.

    Arguments:
        column: `(nodes,)` the column that a node splits.
        low: `(nodes,)` the lowest level that goes left.
        high: `(nodes,)` the highest level that goes left.
        left: `(nodes,)` the left child; the right one is the next node.
    """

    column: Ints
    low: Ints
    high: Ints
    left: Ints

    def __len__(self) -> int:
        return len(self.left)

    @property
    def leaves(self) -> Ints:
        """The nodes that are leaves."""
        return np.nonzero(self.left == 0)[0]

    @property
    def parent(self) -> Ints:
        """`(nodes,)` the parent of every node; that of the root is the root."""
        inner = np.nonzero(self.left)[0]
        parent = np.zeros(len(self), dtype=np.int64)
        parent[self.left[inner]] = parent[self.left[inner] + 1] = inner
        return parent

    def route(self, levels: Ints) -> Ints:
        """Return the leaf of every record `(n,)` of levels `(n, d)`."""
        at = np.zeros(len(levels), dtype=np.int64)
        moving = np.arange(len(levels))
        while len(moving):
            node = at[moving]
            moving, node = moving[self.left[node] > 0], node[self.left[node] > 0]
            value = levels[moving, self.column[node]]
            at[moving] = self.left[node] + ((value < self.low[node]) | (value > self.high[node]))
        return at

    def leaf(self, levels: Ints) -> Ints:
        """Return which of the leaves every record `(n,)` of levels `(n, d)` reaches."""
        return np.cumsum(self.left == 0)[self.route(levels)] - 1

    def check(self, columns: set[int]) -> None:
        """Raise ValueError unless this is a tree that splits no other columns."""
        inner = np.nonzero(self.left)[0]
        if len(self) != 2 * len(inner) + 1 or not np.array_equal(self.left[inner], 2 * np.arange(len(inner)) + 1):
            raise ValueError("the nodes of a tree must come level by level")
        if (self.left[inner] <= inner).any() or not set(self.column[inner].tolist()) <= columns:
            raise ValueError("a tree splits a column that it cannot know")

    def gather(self, leaf_values: NDArray) -> NDArray:
        """Return `(nodes, ...)` sums: what lies in the leaves, added up towards the root (in place)."""
        parent = self.parent
        for node in range(len(self) - 1, 0, -1):
            leaf_values[parent[node]] += leaf_values[node]
        return leaf_values

    def kept(self, keep: NDArray[np.bool_]) -> tuple[Tree, Ints]:
        """Return the tree whose inner nodes are those marked, and which of the old nodes its nodes are."""
        old, left = [0], []
        for node in old:  # the list grows while it is read
            left.append(len(old) if keep[node] else 0)
            if keep[node]:
                old += [int(self.left[node]), int(self.left[node]) + 1]
        which = np.array(old)
        return Tree(self.column[which], self.low[which], self.high[which], np.array(left)), which


class Splits:
    """All ways to split a record by its levels in some columns, as ranges of places.

    Arguments:
        columns: Which columns of the records may be split.
        sizes: Number of levels of each.
        ordered: Whether each is split by prefixes, or one level against the rest.
        lacking: Whether each can be without a value: prefixes then come with and without the records that have none.
    """

    def __init__(
        self, columns: Sequence[int], sizes: Sequence[int], ordered: Sequence[bool], lacking: Sequence[bool]
    ) -> None:
        self.columns = np.array(columns, dtype=np.int64)
        width = np.array(sizes, dtype=np.int64) + 1  # one more place for no value
        self.start = np.cumsum(width) - width
        self.width = int(width.sum())
        found = []
        for i, (size, prefix, lacks) in enumerate(zip(sizes, ordered, lacking, strict=True)):
            high = np.arange(size - 1) if prefix or size == 2 else np.arange(size)
            low = np.zeros_like(high) if prefix else high
            found.append(np.stack([np.full_like(high, i), low, high]))
            if prefix and lacks:
                found.append(np.stack([np.full_like(high, i), low - 1, high]))
        self.which, self.low, self.high = np.concatenate(found, 1) if found else np.zeros((3, 0), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.which)

    def places(self, levels: Ints) -> Ints:
        """Return the places `(n, columns)` of records of levels `(n, d)`."""
        return levels[:, self.columns] + (self.start + 1)

    def left(self, counts: NDArray) -> NDArray:
        """Return sums `(splits, ...)` over the places that go left, of counts `(width, ...)`."""
        total = np.zeros((self.width + 1, *counts.shape[1:]), counts.dtype)
        np.cumsum(counts, axis=0, out=total[1:])
        first = self.start[self.which] + 1
        return total[first + self.high + 1] - total[first + self.low]


Gain = Callable[[Ints, Ints], Floats]  # (rows of the node, its places) -> gain of every split


def grow(levels: Ints, splits: Splits, gain: Gain, min_leaf: int, max_leaves: int) -> Tree:
    """Return the tree that splits the node with the largest gain first, until no split gains or there are enough leaves."""
    column, low, high, left = [0], [-1], [-1], [0]
    places = splits.places(levels)
    waiting: list[tuple[float, int, int, Ints]] = []

    def offer(node: int, rows: Ints) -> None:
        """Put a node's best split among those that wait."""
        if len(rows) < 2 * min_leaf or not len(splits):
            return
        own = places[rows]
        size = splits.left(np.bincount(own.ravel(), minlength=splits.width))
        gains = np.where((size >= min_leaf) & (len(rows) - size >= min_leaf), gain(rows, own), 0.0)
        best = int(gains.argmax())
        if gains[best] > 1e-9:
            heapq.heappush(waiting, (-float(gains[best]), node, best, rows))

    offer(0, np.arange(len(levels)))
    while waiting and len(left) < 2 * max_leaves - 1:
        _, node, split, rows = heapq.heappop(waiting)
        column[node] = int(splits.columns[splits.which[split]])
        low[node], high[node], left[node] = int(splits.low[split]), int(splits.high[split]), len(left)
        value = levels[rows, column[node]]
        inside = (value >= low[node]) & (value <= high[node])
        for child in (rows[inside], rows[~inside]):
            for own, start in ((column, 0), (low, -1), (high, -1), (left, 0)):
                own.append(start)
            offer(len(left) - 1, child)
    return Tree(np.array(column), np.array(low), np.array(high), np.array(left))


class Information:
    r"""Gain of a split in what it tells about some columns, in nats (`entropy`) or in Gini's impurity, times records.

    \(\sum_j n\, I(\text{split}; x_j)\), a column's own splits left out: with `entropy` this is what the log likelihood of
    independent columns gains by the split, and with one column it is ID3's information gain.

    Arguments:
        targets: `(n, m)` levels of the columns to tell about, -1 where there is none.
        sizes: Number of levels of each.
        own: For every one of them which of the split columns it is, or -1.
        splits: The ways to split.
        criterion: `entropy` or `gini`.
    """

    def __init__(
        self, targets: Ints, sizes: Sequence[int], own: Sequence[int], splits: Splits, criterion: str = "entropy"
    ) -> None:
        self.targets, self.sizes, self.own, self.splits, self.criterion = targets, sizes, own, splits, criterion
        count = np.arange(len(targets) + 1)
        self.term = np.square(count, dtype=float) if criterion == "gini" else count * np.log(np.maximum(count, 1))

    def __call__(self, rows: Ints, places: Ints) -> Floats:
        total = np.zeros(len(self.splits))
        for t, (size, own) in enumerate(zip(self.sizes, self.own, strict=True)):
            target = self.targets[rows, t]
            known = target >= 0
            keys = places[known] * size + target[known, None]
            counts = np.bincount(keys.ravel(), minlength=self.splits.width * size).reshape(-1, size)
            left = self.splits.left(counts)
            whole = np.bincount(target[known], minlength=size)
            gained = self._side(left) + self._side(whole - left) - self._side(whole[None])
            total += np.where(self.splits.which == own, 0.0, gained) if own >= 0 else gained
        return total

    def _side(self, counts: Ints) -> Floats:
        inside, size = self.term[counts].sum(1), counts.sum(1)
        return inside / np.maximum(size, 1) if self.criterion == "gini" else inside - self.term[size]


def halves(size: int) -> tuple[Ints, Ints, Ints]:
    """Return where every half-way cut of `size` ordered levels begins, cuts and ends, wholes before their halves.

    Example:
        >>> [t.tolist() for t in halves(4)]
        [[0, 0, 2], [2, 1, 3], [4, 2, 4]]
    """
    spans = [(0, size)]
    for low, high in spans:  # the list grows while it is read
        middle = (low + high) // 2
        spans += [(a, b) for a, b in ((low, middle), (middle, high)) if b - a > 1]
    found = np.array([(a, (a + b) // 2, b) for a, b in spans if b - a > 1], dtype=np.int64).reshape(-1, 3)
    return found[:, 0], found[:, 1], found[:, 2]


def choices(counts: Floats, ordered: bool) -> Floats:
    """Return counts `(nodes, levels)` as those of choices `(nodes, choices, options)`.

    A level of a category is one choice; one of an ordered column is a row of choices between halves.
    """
    if not ordered:
        return counts[:, None]
    low, middle, high = halves(counts.shape[1])
    below = np.pad(counts.cumsum(1), ((0, 0), (1, 0)))
    return np.stack([below[:, middle] - below[:, low], below[:, high] - below[:, middle]], 2)


def together(tables: Floats, size: int, ordered: bool) -> Floats:
    """Undo `choices` for probabilities: return `(nodes, levels)`."""
    if not ordered:
        return tables[:, 0]
    out = np.ones((len(tables), size))
    for i, (low, middle, high) in enumerate(zip(*halves(size), strict=True)):
        out[:, low:middle] *= tables[:, i, :1]
        out[:, middle:high] *= tables[:, i, 1:]
    return out


def smoothed(counts: Floats, parent: Ints, base: Floats, strength: float, left_out: bool = False) -> Floats:
    r"""Return tables `(nodes, choices, options)`, each drawn towards its parent's: \((c_l + s\,q_l) / (n + s)\), q the parent's.

    With ordered levels as choices between halves, a node departs from its parent in the large where it has many records, and
    follows it in the small where it has few.

    Arguments:
        counts: `(nodes, choices, options)` records.
        parent: `(nodes,)` parents, which come first.
        base: `(choices, options)` what the root is drawn towards.
        strength: s, in records.
        left_out: Return for every option the probability that the others give to one record that takes it.
    """
    away = 1.0 if left_out else 0.0
    own = np.maximum(counts - away, 0)
    size = np.maximum(counts.sum(2, keepdims=True) - away, 0) + strength
    tables = np.empty_like(own)
    for node in range(len(counts)):
        above = base if node == 0 else tables[parent[node]]
        tables[node] = (own[node] + strength * above) / size[node]
    return tables


def informative(levels: Ints, sizes: Sequence[int], rng: torch.Generator, most: int = 10_000) -> Floats:
    """Return what every column tells about every other one, `(d, d)` nats: mutual information of at most four groups of levels."""
    rows = torch.randperm(len(levels), generator=rng)[:most].numpy()
    d = levels.shape[1]
    groups = np.maximum(levels[rows] * np.minimum(sizes, GROUPS) // np.maximum(sizes, 1), 0)
    one_hot = (groups[:, :, None] == np.arange(GROUPS)).reshape(len(rows), -1).astype(np.float32)
    joint = (one_hot.T @ one_hot).reshape(d, GROUPS, d, GROUPS).transpose(0, 2, 1, 3) / len(rows)
    alone = one_hot.mean(0).reshape(d, GROUPS)
    expected = alone[:, None, :, None] * alone[None, :, None, :]
    ratio = np.log(np.maximum(joint, 1e-12) / np.maximum(expected, 1e-12))
    return np.where(joint > 0, joint * ratio, 0.0).sum((2, 3)).astype(np.float64)


def prune(tree: Tree, worth: Floats, price: Floats) -> NDArray[np.bool_]:
    """Return which nodes stay split `(nodes, prices)` for the largest sum of `worth` over leaves, less a price per leaf.

    Arguments:
        tree: The tree.
        worth: `(nodes,)` what every node is worth as a leaf.
        price: `(prices,)` what a leaf costs: the cost-complexity parameters.
    """
    best = worth[:, None] - price
    keep = np.zeros(best.shape, dtype=bool)
    for node in range(len(tree) - 1, -1, -1):
        if child := int(tree.left[node]):
            split = best[child] + best[child + 1]
            keep[node] = split > best[node]
            best[node] = np.where(keep[node], split, best[node])
    return keep
