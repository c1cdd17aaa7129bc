r"""Mixtures of tables: the EM behind `Mixture`, for thousands of components.

Every column is a column of levels: categories as they are, numbers cut into cells (`_cut`). A component holds one table per
column; those of numbers are a normal distribution on the column's own axis (`_cut.edges`), cut at the edges
\(e_0 < \ldots < e_m\) of the cells:

\[ T_k(c) = \Phi\Big(\frac{e_c - \mu_k}{\sigma_k}\Big) - \Phi\Big(\frac{e_{c-1} - \mu_k}{\sigma_k}\Big). \]

A record is a list of places in these tables, so its log-joint is a sum of table rows, one per column, and the expected counts are
sums of responsibilities: cost grows with columns, not with levels. Means and variances come from the counts by the moments of a
normal distribution between two edges, which makes a pass an EM step whose hidden part are the component and the scores.

References:
    Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster et al., 1977), https://www.jstor.org/stable/2984875
    On-line Expectation-Maximization Algorithm for Latent Data Models (Cappe & Moulines, 2009), https://arxiv.org/abs/0712.4273
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from ._axis import SMALLEST, Axis
from ._levels import Levels

CHUNK = 4096
WORK = 2**23  # values of a chunk of log-joints, at most
LEAST_SD = 1e-3  # of a component, in normal scores
FAINT = 80.0  # nats below the best component at which responsibilities are cut off: smaller floats are slow
SLACK = 0.1  # nats that the validation score may lie below its best: rows get truer long before it falls by much
FORGETTING = 0.6  # power of the falling steps of stepwise EM


@dataclass
class Tables:
    """Components.

    Arguments:
        weights: `(K,)`, sum 1.
        tables: `(width, K)` probabilities of every level, columns one below the other.
    """

    weights: Tensor
    tables: Tensor

    def __len__(self) -> int:
        return len(self.weights)

    def logs(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return `(width + 1, K)` logs of the tables; the last row stands for an unknown value."""
        return pad(self.tables.clamp_min(SMALLEST).log().to(dtype), (0, 0, 0, 1))

    def joint(self, places: Tensor, logs: Tensor) -> Tensor:
        """Return `(n, K)` logs of weight times probability of records given as `places`."""
        log_weights = self.weights.clamp_min(SMALLEST).log().to(logs.dtype)
        return embedding_bag(places, logs, mode="sum") + log_weights

    def behind(self, others: Tables | None, share: float) -> Tables:
        """Return these components together with others, which get `share` of the weight."""
        if others is None or share == 0:
            return self
        weights = torch.cat([(1 - share) * self.weights, share * others.weights])
        return Tables(weights, torch.cat([self.tables, others.tables], 1))


def places(levels: Levels, values: Tensor) -> Tensor:
    """Return where `(n, columns)` levels stand in the tables, int32; unknown (NaN) ones at `width`."""
    at = torch.nan_to_num(values, nan=-1.0).int()
    return torch.where(at < 0, levels.width, at + levels.start.int()).int()


class Rows:
    """Records in chunks, each with its places sorted, so that counts are sums of consecutive rows.

    Arguments:
        at: `(n, columns)` places.
        width: Number of places.
        size: Records per chunk.
    """

    def __init__(self, at: Tensor, width: int, size: int = CHUNK) -> None:
        self.n, self.width = len(at), width
        self.chunks = [(part, *self._sorted(part)) for part in at.split(max(1, size))]

    def _sorted(self, part: Tensor) -> tuple[Tensor, Tensor]:
        order = torch.argsort(part.flatten(), stable=True)
        counts = torch.bincount(part.flatten(), minlength=self.width + 1)[: self.width]
        known = order[: int(counts.sum())]
        return (known // part.shape[1]).int(), (counts.cumsum(0) - counts).int()

    def frequency(self) -> Tensor:
        """Return how often every level occurs, `(width,)` float64."""
        found = [torch.diff(offsets, append=torch.tensor([len(rows)])) for _, rows, offsets in self.chunks]
        return torch.stack(found).double().sum(0)

    def counts(self, chunk: int, r: Tensor) -> Tensor:
        """Return `(width, K)` sums of responsibilities `(chunk, K)`, float64."""
        _, rows, offsets = self.chunks[chunk]
        return embedding_bag(rows, r, offsets, mode="sum").double()

    def visit(self, tables: Tables) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield number, log densities `(m,)` and responsibilities `(m, K)` of every chunk, under the same tables."""
        logs = tables.logs()
        for i, (at, *_) in enumerate(self.chunks):
            yield i, *_shares(tables, at, logs)

    def score(self, tables: Tables) -> float:
        """Return the mean log density, nats."""
        return sum(float(nats.double().sum()) for _, nats, _ in self.visit(tables)) / self.n


def _shares(tables: Tables, at: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
    """Return log densities `(n,)` and responsibilities `(n, K)` of records, by one exponential each."""
    joint = tables.joint(at, logs)
    top, where = joint.max(1)
    joint.clamp_(min=(top - FAINT)[:, None])
    r = torch.softmax(joint, 1)
    return top - r.gather(1, where[:, None])[:, 0].log(), r


@dataclass
class State:
    """What EM moves: the tables, and the normal distributions `(d, K)` behind those of numbers."""

    tables: Tables
    mean: Tensor
    sd: Tensor


class Fitter:
    """The EM loop.

    Arguments:
        levels: The columns.
        scores: The cells of numbers.
        rows: Records to learn from.
        base: `(width, K)` tables of the pseudo-records of every component.
        smoothing: How many of them it has.
        tol: Stop when the objective rises by less than this, nats per record.
    """

    valid: Rows | None = None  # records that stop the loop when their score falls
    background: Tables | None = None  # components that EM leaves alone, with `share` of the weight
    share: float = 0.0

    def __init__(self, levels: Levels, scores: Axis, rows: Rows, base: Tensor, smoothing: float, tol: float) -> None:
        self.levels, self.scores, self.rows = levels, scores, rows
        self.base, self.smoothing, self.tol = base, smoothing, tol

    # -- the M step --------------------------------------------------------------------------------------------------
    def maximise(self, counts: Tensor, weights: Tensor, before: State | None) -> State:
        """Return the state that raises the expected log posterior of `(width, K)` counts and `(K,)` weights.

        Arguments:
            counts: Expected counts of records.
            weights: Expected records per component.
            before: Where the scores in each cell come from; None takes the middle of the cell.
        """
        scores, counts = self.scores, counts + self.smoothing * self.base
        n = counts[scores.at]
        total = scores.sums(n).clamp_min(1e-12)
        if before is None:
            centre, first = torch.zeros_like(total), scores.typical[:, None].expand_as(n)
            second = first.square()
        else:
            centre = before.mean
            first, second = scores.moments(before.mean, before.sd)
        shift = scores.sums(n * first) / total
        var = scores.sums(n * second) / total - shift.square()
        mean, sd = centre + shift, var.clamp_min(LEAST_SD**2).sqrt()
        counts[scores.at] = scores.masses(mean, sd)
        return State(Tables(weights / weights.sum(), self._shared(counts.clamp_min(SMALLEST))), mean, sd)

    def _shared(self, counts: Tensor) -> Tensor:
        columns = torch.zeros(len(self.levels.counts), counts.shape[1], dtype=counts.dtype)
        return counts / columns.index_add_(0, self.levels.owner, counts)[self.levels.owner]

    def labelled(self, labels: Tensor, k: int) -> State:
        """Return the state that fixed components `(n,)` of all records give."""
        counts = torch.zeros(self.rows.width, k, dtype=torch.float64)
        for i, part in enumerate(labels.split(len(self.rows.chunks[0][0]))):
            counts += self.rows.counts(i, torch.nn.functional.one_hot(part, k).float())
        return self.maximise(counts, torch.bincount(labels, minlength=k).double() + 1e-3, None)

    # -- passes ------------------------------------------------------------------------------------------------------
    def sweep(self, state: State) -> tuple[float, State]:
        """Visit all records once; return the mean log density under the old state, nats, and the new state."""
        counts = torch.zeros_like(state.tables.tables)
        weights, total = torch.zeros(len(state.tables), dtype=torch.float64), 0.0
        for i, nats, r in self.rows.visit(state.tables):
            total += float(nats.double().sum())
            counts += self.rows.counts(i, r)
            weights += r.sum(0).double()
        return total / self.rows.n, self.maximise(counts, weights, state)

    def stride(self, state: State, first: int) -> tuple[float, State, int]:
        """Visit all records once and move after every chunk, by steps that fall with their number from `first` on."""
        n, total = self.rows.n, 0.0
        counts = state.tables.tables * state.tables.weights * n
        weights = state.tables.weights * n
        for i, (at, *_) in enumerate(self.rows.chunks):
            nats, r = _shares(state.tables, at, state.tables.logs())
            total += float(nats.double().sum())
            step = (first + i + 2) ** -FORGETTING
            counts = (1 - step) * counts + step * n / len(at) * self.rows.counts(i, r)
            weights = (1 - step) * weights + step * n / len(at) * r.sum(0).double()
            state = self.maximise(counts, weights, state)
        return total / n, state, first + len(self.rows.chunks)

    def objective(self, nats: float, state: State) -> float:
        """Return what EM climbs: the mean log density plus the log prior, nats per record."""
        prior = (self.base * state.tables.tables.clamp_min(SMALLEST).log()).sum()
        return nats + self.smoothing * float(prior) / self.rows.n

    def run(
        self, state: State, warm: int, most: int, tell: Callable[[int, float], None]
    ) -> tuple[State, int, float, str]:
        """Repeat passes until nothing is gained; return the state, the passes, its score in nats, and why it stopped.

        Arguments:
            state: Where to start.
            warm: Stepwise passes in front.
            most: Passes at most.
            tell: Receives the number of each pass and its score.
        """
        best, before, nats, done = -math.inf, -math.inf, -math.inf, 0
        for step in range(1, most + 1):
            if step <= warm:
                nats, state, done = self.stride(state, done)
                tell(step, nats)
                continue
            nats, updated = self.sweep(state)
            tell(step, nats)
            climbed = self.objective(nats, state)
            if climbed - before < self.tol:
                return state, step, nats, f"converged after {step} passes"
            if self.valid is not None:
                held_out = self.valid.score(updated.tables.behind(self.background, self.share))
                best = max(best, held_out)
                if held_out < best - SLACK:
                    return state, step, nats, f"stopped after {step} passes, as the validation score falls"
            state, before = updated, climbed
        return state, most, nats, f"stopped at the limit of {most} passes"
