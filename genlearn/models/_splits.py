r"""Growing trees on levels, best split first.

A split sends a record left if its level in one column lies in a range: \(l \le x_c \le h\). For numbers, whose levels are
intervals, the range is a prefix; for categories it is one level against the rest. Level -1 says that there is no value. All
splits of a node are judged at once, from running sums of the counts of its levels.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ._trees import Floats, Ints, Tree


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

    def cut(self, box: NDArray[np.bool_], split: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return what a split makes of the places that a node spans."""
        start = int(self.start[self.which[split]]) + 1
        inside = np.ones(self.width, dtype=bool)
        end = self.start[self.which[split] + 1] if self.which[split] + 1 < len(self.start) else self.width
        inside[start - 1 : end] = False
        outside = inside.copy()
        inside[start + self.low[split] : start + self.high[split] + 1] = True
        outside[start - 1 : end] = ~inside[start - 1 : end]
        return box & inside, box & outside

    def parts(self, box: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return whether each split leaves a level on either side, of the places that a node spans."""
        levels = box.astype(np.int64)
        levels[self.start] = 0
        inside, whole = self.left(levels), np.add.reduceat(levels, self.start)[self.which]
        return (inside > 0) & (inside < whole)

    def left(self, counts: NDArray) -> NDArray:
        """Return sums `(splits, ...)` over the places that go left, of counts `(width, ...)`."""
        total = np.zeros((self.width + 1, *counts.shape[1:]), counts.dtype)
        np.cumsum(counts, axis=0, out=total[1:])
        first = self.start[self.which] + 1
        return total[first + self.high + 1] - total[first + self.low]


Gain = Callable[[Ints, Ints, NDArray[np.bool_]], tuple[Floats, float]]
"""(rows of a node, their places, the places that it spans) -> the gain of every split, and the log of their unit."""


def grow(levels: Ints, splits: Splits, gain: Gain, min_leaf: int, max_leaves: int, least: float = 0.0) -> Tree:
    """Return the tree that splits the node with the largest gain first, until none gains `least` or there are enough leaves."""
    column, low, high, left = [0], [-1], [-1], [0]
    places = splits.places(levels)
    waiting: list[tuple[float, int, int, Ints, NDArray[np.bool_]]] = []

    def offer(node: int, rows: Ints, box: NDArray[np.bool_]) -> None:
        """Put a node's best split among those that wait."""
        if len(rows) < 2 * min_leaf or not len(splits):
            return
        own = places[rows]
        size = splits.left(np.bincount(own.ravel(), minlength=splits.width))
        gains, log_unit = gain(rows, own, box)
        fits = (size >= min_leaf) & (len(rows) - size >= min_leaf) & splits.parts(box)
        gains = np.where(fits, gains, 0.0)
        best = int(gains.argmax())
        if gains[best] > max(least, 1e-9):
            heapq.heappush(waiting, (-math.log(gains[best]) - log_unit, node, best, rows, box))

    offer(0, np.arange(len(levels)), np.ones(splits.width, dtype=bool))
    while waiting and len(left) < 2 * max_leaves - 1:
        _, node, split, rows, box = heapq.heappop(waiting)
        column[node] = int(splits.columns[splits.which[split]])
        low[node], high[node], left[node] = int(splits.low[split]), int(splits.high[split]), len(left)
        value = levels[rows, column[node]]
        inside = (value >= low[node]) & (value <= high[node])
        for child, part in zip((rows[inside], rows[~inside]), splits.cut(box, split), strict=True):
            for own, start in ((column, 0), (low, -1), (high, -1), (left, 0)):
                own.append(start)
            offer(len(left) - 1, child, part)
    return Tree(np.array(column), np.array(low), np.array(high), np.array(left))


class Error:
    r"""Gain of a split in integrated squared error: \(\frac{n_l^2}{V_l} + \frac{n_r^2}{V_r} - \frac{n^2}{V}\), V the volumes.

    Arguments:
        splits: The ways to split.
        volumes: For every split column the volumes of its levels, sum 1. No value at all has volume 1.
    """

    def __init__(self, splits: Splits, volumes: Sequence[Floats]) -> None:
        self.splits = splits
        self.volume = np.concatenate([np.concatenate([[1.0], v]) for v in volumes]) if volumes else np.zeros(0)

    def __call__(self, rows: Ints, places: Ints, box: NDArray[np.bool_]) -> tuple[Floats, float]:
        own = self.volume * box
        whole = np.add.reduceat(own, self.splits.start)
        share = self.splits.left(own) / whole[self.splits.which]
        left = self.splits.left(np.bincount(places.ravel(), minlength=self.splits.width)).astype(float)
        n = len(rows)
        fits = (share > 1e-12) & (share < 1 - 1e-12)
        share = np.where(fits, share, 0.5)
        return np.where(fits, left**2 / share + (n - left) ** 2 / (1 - share) - n**2, 0.0), -float(np.log(whole).sum())


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

    def __call__(self, rows: Ints, places: Ints, box: NDArray[np.bool_]) -> tuple[Floats, float]:
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
        return total, 0.0

    def _side(self, counts: Ints) -> Floats:
        inside, size = self.term[counts].sum(1), counts.sum(1)
        return inside / np.maximum(size, 1) if self.criterion == "gini" else inside - self.term[size]
