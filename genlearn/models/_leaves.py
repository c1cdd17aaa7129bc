r"""Weighted boxes: \(p(x) = \sum_k w_k \prod_j T_{kj}(x_j)\) on columns of levels, with exact marginals and conditionals.

A box is one table per column, zero outside of the levels that it spans. Every answer reweights the boxes by what is known.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from ..codecs.base import Given
from ..codecs.units import Units
from ..errors import Problem
from ..layout import Code
from ._bins import Cells
from ._means import Means

VALUES = 8_000_000  # numbers held at once
SMALLEST = 1e-300  # stands for zero, whose log is not finite
NOWHERE = -600.0  # log probability of what no box holds, at most


class Leaves:
    """Boxes and what they answer.

    Arguments:
        cells: The columns as levels.
        weights: `(K,)`, sum 1.
        tables: `(K, width)`, sums 1 per column.
    """

    def __init__(self, cells: Cells, weights: Tensor, tables: Tensor) -> None:
        self.cells, self.levels = cells, cells.levels
        self.weights, self.tables = weights, tables

    def joint(self, levels: Tensor) -> Tensor:
        """Return `(n, K)` log probabilities of boxes and levels `(n, columns)`; NaN is summed out."""
        logs = pad(self.tables.clamp_min(SMALLEST).log().T, (0, 0, 0, 1)).contiguous()
        at = torch.nan_to_num(levels, nan=-1.0).long()
        return embedding_bag(torch.where(at < 0, self.levels.width, at + self.levels.start), logs, mode="sum") + (
            self.weights.log()
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Return `(n,)` log densities of codes, nats."""
        rows = max(1, VALUES // (len(self.weights) + x.shape[1]))
        parts = [torch.logsumexp(self.joint(self.cells.encode(part)), 1) for part in x.split(rows)]
        return torch.cat(parts) + self.cells.log_inside(x) if parts else torch.zeros(0, dtype=torch.float64)

    def sample(self, n: int, rng: torch.Generator, given: Given | None, name: str) -> Tensor:
        """Return `n` codes that meet the conditions."""
        kept = self.cells.evidence(given)
        mass = self.levels.total(self.tables * kept)
        log_weights = self.weights.log() + mass.clamp_min(SMALLEST).log().sum(1)
        if given is not None and not bool((log_weights > NOWHERE).any()):
            raise Problem(f"{name}: no record has {', '.join(given.names)} as asked. Widen the condition.")
        which = torch.multinomial(torch.softmax(log_weights, 0), n, replacement=True, generator=rng)
        parts = which.split(max(1, VALUES // self.levels.width))
        return torch.cat([self.cells.decode(self.levels.draw(self.tables[k] * kept, rng), rng, given) for k in parts])

    def impute(self, code: Code, how: str, rng: torch.Generator, units: Units) -> Code:
        """Return the code with its unknown values drawn, or their means or modes."""
        if code.mask is None:
            return code
        x = torch.where(code.mask, code.x.double(), torch.nan)
        rows = max(1, VALUES // (self.levels.width + len(self.weights)))
        means = Means(units, self.levels)
        parts = [
            self._filled(a, ~b, how, rng, means) for a, b in zip(x.split(rows), code.mask.split(rows), strict=True)
        ]
        return Code(torch.cat(parts), code.y, None, code.log_det)

    def _filled(self, x: Tensor, unknown: Tensor, how: str, rng: torch.Generator, means: Means) -> Tensor:
        levels = self.cells.encode(x)
        joint = self.joint(levels)
        for i, level in self.levels.absent:  # what is filled in is not missing: boxes that say so weigh less
            present = torch.log1p(-self.tables[:, self.levels.start[i] + level].clamp_max(1 - 1e-12))
            joint = joint + unknown[:, i : i + 1] * present
        r = torch.softmax(joint, 1)
        which = torch.multinomial(r, 1, generator=rng)[:, 0] if how == "draw" else r.argmax(1)
        tables = r @ self.levels.present(self.tables) if how == "mean" else self.tables[which]
        tables = tables * self.levels.allowed(levels, unknown)
        if how == "draw":
            out = self.cells.decode(self.levels.draw(tables, rng), rng)
        else:
            out = self.levels.mode(tables)
            for i, j in enumerate(self.cells.numbers):
                curve = means.curve(j) if how == "mean" else None
                at = self.cells.bins.means(i, curve)
                out[:, j] = self._mean(at, j, r if how == "mean" else None, which, unknown)
            if how == "mean":
                out = means.put(out, unknown, tables)
        return self.cells.layout.shut_gates(torch.where(unknown, out, x))

    def _mean(self, at: Tensor, j: int, r: Tensor | None, which: Tensor, unknown: Tensor) -> Tensor:
        """Return `(n,)` means of the number in column `j`, `at` by level: over all boxes, or in one box for each record."""
        start = int(self.levels.start[j])
        own = self.tables[:, start : start + self.levels.counts[j]] @ at
        if r is None:
            return own[which]
        weight = r
        for columns, gate in self.cells.layout.gates:
            if columns.start <= j < columns.stop:  # a box counts as much as it believes that there is a number
                first = int(self.levels.start[gate])
                missing = [first + level for i, level in self.levels.absent if i == gate]
                open_ = 1 - self.tables[:, missing].sum(1)  # r knows that nothing is missing
                there = self.tables[:, first] / open_.clamp_min(SMALLEST)
                weight = torch.where(unknown[:, gate : gate + 1], r * there, r)
        return (weight @ own) / weight.sum(1).clamp_min(SMALLEST)
