r"""EM for mixtures of trees: responsibilities, then the best tree of every component for its weighted pair counts.

The posterior mode is sought: `smoothing` pseudo-records per component, spread by overall pair frequencies Q, stand beside the
records. What climbs is \(\sum_i \log \sum_k \pi_k T_k(x_i) + s \sum_k E_Q[\log T_k]\), tree structure included.

References:
    Learning with Mixtures of Trees (Meila & Jordan, 2000), https://www.jmlr.org/papers/v1/meila00a.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ._chowliu import BINARY, Trees, chow_liu, gains, most, ones_product, pair_counts, pairs_of_ones, tables
from ._levels import Levels

BLOCK = 64  # trees that are scored at a time
PATIENCE = 3  # passes that the validation score may fall before EM stops
HOT = 2**28  # one-hot values that are kept between passes


@dataclass
class Grove:
    """A mixture of trees: weights `(K,)` and K trees."""

    weights: Tensor
    trees: Trees

    def joint(self, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return `(n, K)` logs of weight times probability of `(n, columns)` levels; NaN is summed over."""
        parts = [self.part(s).trees.log_prob(values, dtype) for s in range(0, len(self.weights), BLOCK)]
        return torch.cat(parts, 1) + self.weights.log()

    def part(self, start: int) -> Grove:
        """Return the components from `start` that are worked on together."""
        rows = slice(start, start + BLOCK)
        t = self.trees
        return Grove(self.weights[rows], Trees(t.levels, t.parents[rows], t.tables[rows]))

    def log_prob(self, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return `(n,)` log probabilities."""
        rows = max(256, 2**22 // max(1, len(self.weights)))
        parts = [torch.logsumexp(self.joint(v, dtype), 1) for v in values.split(rows)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def score(self, rows: Rows, dtype: torch.dtype = torch.float64) -> float:
        """Return the mean log probability of records."""
        return float(rows.times(self.log_prob(rows.values, dtype)).sum()) / rows.n


@dataclass
class Rows:
    """Records as EM visits them.

    Arguments:
        levels: What the columns are.
        values: `(n, columns)` float32 levels, NaN where absent or unknown.
        leaves: Columns that get no children: they may be absent, and then drop out of every sum.
        least: Shares that small are left out of the pair counts.
        weights: `(n,)` float32, how often each record occurs; None if once.
    """

    levels: Levels
    values: Tensor
    leaves: Sequence[int] = ()
    least: float = 0.0
    weights: Tensor | None = None

    @property
    def n(self) -> float:
        """How many records there are, repeated ones included."""
        return float(len(self.values) if self.weights is None else self.weights.sum(dtype=torch.float64))

    def joined(self) -> Rows:
        """Return these records with repeated ones as one that counts more."""
        if self.weights is not None or not self.values.shape[1]:
            return self
        known = torch.nan_to_num(self.values, nan=-1.0).to(torch.int16).numpy()
        keys = np.ascontiguousarray(known).view(np.dtype((np.void, 2 * known.shape[1])))[:, 0]
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        if len(first) > 0.9 * len(keys):
            return self
        order = torch.from_numpy(first.argsort())
        places, times = torch.from_numpy(first)[order], torch.from_numpy(counts)[order]
        return replace(self, values=self.values[places], weights=times.float())

    def times(self, share: Tensor) -> Tensor:
        """Return `(n, ...)` shares times how often each record occurs."""
        return share if self.weights is None else share * self.weights.view(-1, *[1] * (share.ndim - 1))

    @cached_property
    def hidden(self) -> Tensor:
        """Positions of the records with an unknown value that others may depend on."""
        unknown = torch.isnan(self.values)
        unknown[:, list(self.leaves)] = False
        return torch.nonzero(unknown.any(1))[:, 0]

    @cached_property
    def binary(self) -> bool:
        """Whether all columns are binary and known."""
        return set(self.levels.counts) == {BINARY} and not bool(torch.isnan(self.values).any())

    @cached_property
    def hot(self) -> Tensor | None:
        """One-hot levels, unless they are too many to be kept."""
        few = not self.binary and len(self.values) * self.levels.width <= HOT
        return self.levels.one_hot(self.values, torch.float32) if few else None

    def pairs(self, share: Tensor | None = None) -> Tensor:
        """Return pair counts of `(n,)` shares of the records, over known values."""
        if share is None:
            return pair_counts(self.levels, self.values, self.weights)
        rows, weights = torch.nonzero(share > self.least)[:, 0], self.times(share)
        if self.binary:
            return pairs_of_ones(*ones_product(self.values[rows], weights[rows]))
        if self.hot is None:
            return pair_counts(self.levels, self.values[rows], weights[rows])
        total = torch.zeros(self.levels.width, self.levels.width, dtype=torch.float64)
        for part in rows.split(2**14):
            hot = self.hot[part]
            total += ((hot * weights[part, None]).T @ hot).double()
        return total


@dataclass
class Fitted:
    """What a run of EM gives: the mixture, its validation score (nats), passes, why it stopped, and what it climbed."""

    grove: Grove
    score: float
    passes: int
    why: str
    objectives: list[float]


@dataclass
class Climb:
    """EM from given responsibilities.

    Arguments:
        rows: Records to learn from.
        valid: Records that stop it when their score falls; None goes by `tol` alone.
        base: Overall pair frequencies `(width, width)`.
        smoothing: Pseudo-records of every component, spread by `base`.
        dtype: Precision of scores.
    """

    rows: Rows
    valid: Rows | None
    base: Tensor
    smoothing: float
    dtype: torch.dtype = torch.float64

    def run(self, start: Tensor, max_iter: int, tol: float, tell: Callable[[float], None]) -> Fitted:
        """Repeat passes from responsibilities `(n, K)` until nothing is gained."""
        grove = self.maximise(start, None)
        best, best_valid, falls, why = grove, -math.inf, 0, f"stopped at the limit of {max_iter} passes"
        climbed: list[float] = []
        for _ in range(max_iter):
            share, nats = self.expect(grove)
            tell(nats)
            climbed.append(nats + self.prior(grove) / self.rows.n)
            if self.valid is not None:
                score = grove.score(self.valid, self.dtype)
                falls = 0 if score > best_valid else falls + 1
                if score > best_valid:
                    best, best_valid = grove, score
                if falls >= PATIENCE:
                    why = "validation score fell"
                    break
            if len(climbed) > 1 and climbed[-1] - climbed[-2] < tol:
                why = "converged"
                break
            if len(climbed) < max_iter:
                grove = self.maximise(share, grove)
        kept = grove if self.valid is None else best
        return Fitted(kept, climbed[-1] if self.valid is None else best_valid, len(climbed), why, climbed)

    def expect(self, grove: Grove) -> tuple[Tensor, float]:
        """Return responsibilities `(n, K)` float32 and the mean log probability."""
        values, weights, k = self.rows.values, self.rows.weights, len(grove.weights)
        share, total = torch.empty(len(values), k), 0.0
        size = max(256, 2**22 // k)
        for s in range(0, len(values), size):
            joint = grove.joint(values[s : s + size], self.dtype)
            each = torch.logsumexp(joint, 1)
            share[s : s + size] = (joint - each[:, None]).exp_()
            total += float(each.sum() if weights is None else each @ weights[s : s + size].double())
        return share, total / self.rows.n

    def maximise(self, share: Tensor, grove: Grove | None) -> Grove:
        """Return the mixture that responsibilities `(n, K)` give; `grove` is where they come from."""
        parents, found = [], []
        levels = self.rows.levels
        for k in range(share.shape[1]):
            pairs = self.rows.pairs(share[:, k].contiguous()) + self.smoothing * self.base
            if len(self.rows.hidden) and grove is not None:
                pairs += self._hidden(self.rows.times(share[:, k]), replace(grove.trees, parents=grove.trees.parents[k : k + 1],
                                                           tables=grove.trees.tables[k : k + 1]))  # fmt: skip
            parents.append(chow_liu(gains(levels, pairs), self.rows.leaves))
            found.append(tables(levels, pairs, parents[-1]))
        weights = self.rows.times(share).sum(0, dtype=torch.float64)
        return Grove(weights / weights.sum(), Trees(levels, torch.stack(parents), torch.stack(found)))

    def _hidden(self, share: Tensor, tree: Trees) -> Tensor:
        """Return what unknown values add to the pair counts: exact where a record has one such value."""
        levels = self.rows.levels
        total = torch.zeros(levels.width, levels.width, dtype=torch.float64)
        for rows in self.rows.hidden.split(tree.rows):
            values, r = self.rows.values[rows], share[rows, None].double()
            unknown = torch.isnan(values)
            unknown[:, list(self.rows.leaves)] = False
            known = levels.one_hot(values)
            belief = tree.marginals(tree.up(known + unknown[:, levels.owner].double() + self._absent(values))[0])[0]
            soft = belief[levels.owner, :, torch.arange(levels.width) - levels.start[levels.owner]].T
            soft = torch.where(unknown[:, levels.owner], soft, known)
            total += (soft * r).T @ soft - (known * r).T @ known
            total.diagonal().add_((r * (soft - soft.square())).sum(0))
        return total

    def _absent(self, values: Tensor) -> Tensor:
        """Return 1 at all levels of leaves that are absent, else 0."""
        absent = torch.zeros(values.shape, dtype=torch.bool)
        absent[:, list(self.rows.leaves)] = torch.isnan(values[:, list(self.rows.leaves)])
        return absent[:, self.rows.levels.owner].double()

    def prior(self, grove: Grove) -> float:
        """Return the log prior of the trees up to a constant, nats."""
        levels, total = self.rows.levels, 0.0
        place, other = torch.arange(levels.width), torch.arange(most(levels))
        for parents, table in zip(grove.trees.parents, grove.trees.tables, strict=True):
            parent = parents[levels.owner]
            root = parent < 0
            at = (levels.start[parent.clamp_min(0)][:, None] + other).clamp_max(levels.width - 1)
            mass = self.base[place[:, None], at]
            mass = torch.where(root[:, None], (other == 0) * self.base.diagonal()[:, None], mass)
            total += float((mass * torch.where(table > 0, table.log(), 0.0)).sum())
        return self.smoothing * total


def frequencies(rows: Rows, smoothing: float, pairs: Tensor | None = None) -> Tensor:
    """Return overall pair frequencies `(width, width)` with `smoothing` pseudo-records spread evenly over all pairs of levels."""
    levels = rows.levels
    size = torch.tensor(levels.counts, dtype=torch.float64)[levels.owner]
    pairs = (rows.pairs() if pairs is None else pairs) + smoothing / (size[:, None] * size)
    pairs.diagonal().add_(smoothing / size - smoothing / size.square())
    return pairs / (rows.n + smoothing)


def single_tree(rows: Rows, smoothings: Sequence[float], valid: Rows | None = None) -> tuple[Grove, float]:
    """Return the Chow-Liu tree of records, and the one of several `smoothings` that gives `valid` the highest score.

    Arguments:
        rows: Records.
        smoothings: Pseudo-records, spread evenly over all pairs of levels.
        valid: Records that choose; None takes the first.
    """
    counted, best = rows.pairs(), (-math.inf, smoothings[0])
    groves = {}
    for s in smoothings if valid is not None else smoothings[:1]:
        pairs = frequencies(rows, s, counted)
        parents = chow_liu(gains(rows.levels, pairs), rows.leaves)
        trees = Trees(rows.levels, parents[None], tables(rows.levels, pairs, parents)[None])
        groves[s] = Grove(torch.ones(1, dtype=torch.float64), trees)
        if valid is not None:
            best = max(best, (groves[s].score(valid), s))
    return groves[best[1]], best[1]
