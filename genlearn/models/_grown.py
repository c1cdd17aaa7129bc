"""A grown density tree before pruning: the boxes of its nodes, the records in them, and smoothed tables."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ._bins import Cells
from ._trees import Floats, Ints, Tree, choices, smoothed, together

STRENGTHS = (
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
)  # pseudo-records of the parent's table, of which left-out records choose
TINY = 1e-300


class Grown:
    """A tree before pruning, filled with records.

    Arguments:
        cells: The columns as levels.
        tree: The tree.
        levels: `(n, d)` the records' levels.
        constant: Whether the tables of a node are flat in its box.
    """

    def __init__(self, cells: Cells, tree: Tree, levels: Ints, constant: bool) -> None:
        self.cells, self.tree, self.constant = cells, tree, constant
        self.starts, self.sizes = cells.levels.start.tolist(), cells.levels.counts
        self.counts, self.boxes = self.count(levels), self._boxes()
        self.own_share = self.share(levels)
        self.strengths: list[float] = []

    def share(self, levels: Ints) -> Floats:
        """Return which share of the records reaches every node, `(nodes,)`."""
        return self.tree.gather(np.bincount(self.tree.route(levels), minlength=len(self.tree)) / len(levels))

    def count(self, levels: Ints) -> Floats:
        """Return how many records have every level in every node, `(nodes, width)`."""
        width = self.cells.levels.width
        at = self.tree.route(levels) * width
        counts = np.zeros(len(self.tree) * width)
        for j, start in enumerate(self.starts):
            there = levels[:, j] >= 0
            np.add.at(counts, at[there] + start + levels[there, j], 1.0)
        return self.tree.gather(counts.reshape(len(self.tree), width))

    def _boxes(self) -> NDArray[np.bool_]:
        """Return which levels every node spans, `(nodes, width)`."""
        tree = self.tree
        boxes = np.ones((len(tree), self.cells.levels.width), dtype=bool)
        for node in np.nonzero(tree.left)[0]:
            child, j = tree.left[node], tree.column[node]
            own, level = slice(self.starts[j], self.starts[j] + self.sizes[j]), np.arange(self.sizes[j])
            inside = (level >= tree.low[node]) & (level <= tree.high[node])
            boxes[child] = boxes[child + 1] = boxes[node]
            boxes[child, own] &= inside
            boxes[child + 1, own] &= ~inside
        return boxes

    @cached_property
    def log_volume(self) -> Floats:
        """Log volume of every node, `(nodes,)`."""
        total = np.zeros(len(self.tree))
        for j, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            total += np.log((volumes_of(self.cells, j) * self.boxes[:, start : start + size]).sum(1))
        return total

    def tables(self, factor: float) -> Floats:
        """Return probabilities of the levels in every node `(nodes, width)`, 0 outside of its box.

        A column's tables are drawn to the parents' as strongly as the records left out of leaves ask for, times `factor`.
        """
        chosen, out = [], np.empty_like(self.counts)
        for j, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            own, number = slice(start, start + size), j in self.cells.numbers
            volumes = volumes_of(self.cells, j)
            if self.constant:
                out[:, own] = volumes
                continue
            base: Floats = self.cells.bins.mass(self.cells.numbers.index(j)).numpy() if number else volumes
            found, root = choices(self.counts[:, own], number), choices(base[None], number)[0]
            root = root / root.sum(1, keepdims=True)
            strength = self.strengths[j] if self.strengths else _asked_for(self.tree, found, root)
            chosen.append(strength)
            out[:, own] = together(smoothed(self.tree, found, root, factor * strength), size, number)
        self.strengths = chosen
        return self.cells.levels.share(torch.from_numpy(out * self.boxes)).numpy()


def _asked_for(tree: Tree, counts: Floats, base: Floats) -> float:
    """Return the strength at which tables predict the records left out of leaves best."""
    leaves = tree.leaves

    def left_out(strength: float) -> float:
        tables = smoothed(tree, counts, base, strength, left_out=True)[leaves]
        return float((counts[leaves] * np.log(np.maximum(tables, TINY))).sum())

    return max(STRENGTHS, key=left_out)


def volumes_of(cells: Cells, j: int) -> Floats:
    """Return the volumes of a column's levels, sum 1: widths within the training range, or equal parts."""
    size = cells.levels.counts[j]
    if j not in cells.numbers:
        return np.full(size, 1 / size)
    bins, i = cells.bins, cells.numbers.index(j)
    edges = bins.knots[i][[0, *bins.cuts[i, : size - 1].tolist(), -1]].numpy()
    return np.diff(edges) / (edges[-1] - edges[0])
