"""Trees on levels: their nodes, what is kept of them, and the smoothed tables in their nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
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

    @cached_property
    def parent(self) -> Ints:
        """`(nodes,)` the parent of every node; that of the root is the root."""
        inner = np.nonzero(self.left)[0]
        parent = np.zeros(len(self), dtype=np.int64)
        parent[self.left[inner]] = parent[self.left[inner] + 1] = inner
        return parent

    @cached_property
    def tiers(self) -> list[Ints]:
        """The nodes by their depth, the root's children first."""
        tiers, at = [], np.array([0])
        while len(at := self.left[at][self.left[at] > 0]):
            at = np.concatenate([at, at + 1])
            tiers.append(at)
        return tiers

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


def smoothed(tree: Tree, counts: Floats, base: Floats, strength: float, left_out: bool = False) -> Floats:
    r"""Return tables `(nodes, choices, options)`, each drawn towards its parent's: \((c_l + s\,q_l) / (n + s)\), q the parent's.

    With ordered levels as choices between halves, a node departs from its parent in the large where it has many records, and
    follows it in the small where it has few.

    Arguments:
        tree: The tree.
        counts: `(nodes, choices, options)` records.
        base: `(choices, options)` what the root is drawn towards, as if by one record.
        strength: s, in records.
        left_out: Return for every option the probability that the others give to one record that takes it.
    """
    away = 1.0 if left_out else 0.0
    own = np.maximum(counts - away, 0)
    size = np.maximum(counts.sum(2, keepdims=True) - away, 0)
    tables = np.empty_like(own)
    tables[0] = (own[0] + base) / (size[0] + 1)
    for tier in tree.tiers:
        tables[tier] = (own[tier] + strength * tables[tree.parent[tier]]) / (size[tier] + strength)
    return tables


def informative(levels: Ints, sizes: Sequence[int], most: int = 10_000) -> Floats:
    """Return what every column tells about every other one, `(d, d)` nats: by four groups of levels of the first records."""
    levels = levels[:most]
    d = levels.shape[1]
    groups = np.maximum(levels * np.minimum(sizes, GROUPS) // np.maximum(sizes, 1), 0)
    one_hot = (groups[:, :, None] == np.arange(GROUPS)).reshape(len(levels), -1).astype(np.float32)
    joint = (one_hot.T @ one_hot).reshape(d, GROUPS, d, GROUPS).transpose(0, 2, 1, 3) / len(levels)
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
