"""A mixture of Gaussian components times level tables, and the EM loop that fits it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ranks
from ._em import Statistics
from ._levels import Levels
from ._normals import Normals, patterns

CHUNK = 4096
PATIENCE = 3  # passes that the validation score may fall before EM stops
RESEEDS = 3  # passes in which a dead component may be planted anew


@dataclass
class Mixture:
    """Weights `(K,)`, Gaussian components, and level probabilities `(K, width)`."""

    weights: Tensor
    normals: Normals
    tables: Tensor

    def __len__(self) -> int:
        return len(self.weights)

    def joint(self, numbers: Tensor, one_hot: Tensor) -> Tensor:
        """Return `(n, K)` logs of weight times density; NaN numbers and zero rows of `one_hot` are marginalised."""
        out = self.weights.log() + _log_levels(one_hot, self.tables)
        for columns, rows in patterns(~torch.isnan(numbers)):
            out[rows] += self.normals.at(columns).log_prob(numbers[rows][:, columns])
        return out


def _log_levels(one_hot: Tensor, tables: Tensor) -> Tensor:
    return one_hot @ tables.log().clamp_min(-1e4).to(one_hot.dtype).T


class Rows:
    """Records as EM visits them: grouped by the numbers they show, in chunks, which processes take in turn.

    Arguments:
        numbers: `(n, d)`, NaN where absent or unknown.
        discrete: `(n, c)` levels.
        levels: What the discrete columns are.
        dtype: Precision of the chunks; sums are kept in float64 in any case.
    """

    def __init__(self, numbers: Tensor, discrete: Tensor, levels: Levels, dtype: torch.dtype) -> None:
        self.levels, self.dtype, self.n = levels, dtype, len(numbers)
        found = patterns(~torch.isnan(numbers)) if numbers.shape[1] else [(torch.arange(0), torch.arange(len(numbers)))]
        self.complete = len(found) == 1 and len(found[0][0]) == numbers.shape[1]
        if self.complete and ranks.world() == 1:  # nothing is copied
            self.groups = [(found[0][0], numbers.to(dtype), discrete, found[0][1])]
        else:
            turns = itertools.cycle(range(ranks.world()))
            shares = [(c, [chunk for chunk in rows.split(CHUNK) if next(turns) == ranks.rank()]) for c, rows in found]
            own = [(c, torch.cat(chunks)) for c, chunks in shares if chunks]
            self.groups = [(c, numbers[rows][:, c].to(dtype), discrete[rows], rows) for c, rows in own]

    def chunks(self, group: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield numbers, one-hot levels and positions of a group, some thousand rows at a time."""
        _, numbers, discrete, rows = self.groups[group]
        for s in range(0, len(rows), CHUNK):
            part = slice(s, s + CHUNK)
            yield numbers[part], self.levels.one_hot(discrete[part], self.dtype), rows[part]


@dataclass
class Fitter:
    """The EM loop.

    Arguments:
        rows: Records to learn from.
        valid: Records that stop the loop when their score falls; None goes by `tol` alone.
        statistics: The Gaussian part of the M step.
        base: Overall level frequencies `(width,)`, the centre of the Dirichlet prior.
        smoothing: Pseudo-records of that prior, per component and column.
        tol: Stop when the objective rises by less than this, nats per record.
    """

    rows: Rows
    valid: Rows | None
    statistics: Statistics
    base: Tensor
    smoothing: float
    tol: float

    def sweep(self, rows: Rows, mixture: Mixture, fixed: Tensor | None = None) -> tuple[float, Mixture, Tensor]:
        """Visit all records once.

        Returns the mean log density of the old mixture in nats, the updated mixture, and the log density of every record
        `(n,)`, infinite for those of other processes.

        Arguments:
            rows: Records.
            mixture: Where to start.
            fixed: `(n,)` component of every record, in place of the responsibilities.
        """
        k, em = len(mixture), self.statistics
        em.open(mixture.normals)  # type: ignore[arg-type]
        log_weights = mixture.weights.log()
        counts = torch.zeros(k, rows.levels.width, dtype=torch.float64)
        weights = torch.zeros(k, dtype=torch.float64)
        total = torch.zeros(1, dtype=torch.float64)
        nats = torch.full((rows.n,), torch.inf, dtype=torch.float64)
        for g, (columns, *_) in enumerate(rows.groups):
            em.begin(columns, rows.dtype)
            for numbers, one_hot, where in rows.chunks(g):
                joint = em.density(numbers) + log_weights.to(rows.dtype) + _log_levels(one_hot, mixture.tables)
                each = torch.logsumexp(joint, 1)
                nats[where] = each.double()
                total += each.double().sum()
                if fixed is None:
                    r = joint.sub_(each[:, None]).exp_()
                else:
                    r = torch.nn.functional.one_hot(fixed[where], k).to(rows.dtype)
                em.add(r)
                counts += (r.T @ one_hot).double()
                weights += r.sum(0).double()
            em.end()
        ranks.add_up([*em.collected(), counts, weights, total])
        counts = counts + self.smoothing * self.base
        tables = rows.levels.share(counts.clamp_min(1e-300)) if rows.levels.width else counts
        return float(total) / rows.n, Mixture(weights / weights.sum(), em.update(), tables), nats

    def score(self, rows: Rows, mixture: Mixture) -> float:
        """Return the mean log density of the records, nats."""
        em, total = self.statistics, torch.zeros(1, dtype=torch.float64)
        em.open(mixture.normals)  # type: ignore[arg-type]
        for g, (columns, *_) in enumerate(rows.groups):
            em.begin(columns, rows.dtype)
            for numbers, one_hot, _ in rows.chunks(g):
                joint = em.density(numbers) + mixture.weights.log().to(rows.dtype)
                total += torch.logsumexp(joint + _log_levels(one_hot, mixture.tables), 1).double().sum()
        ranks.add_up([total])
        return float(total) / rows.n

    def objective(self, nats: float, mixture: Mixture) -> float:
        """Return what EM climbs: the mean log density plus the log prior, nats per record."""
        prior = self.statistics.penalty(mixture.normals)  # type: ignore[arg-type]
        prior += self.smoothing * float((self.base * mixture.tables.clamp_min(1e-300).log()).sum())
        return nats + prior / self.rows.n

    def run(
        self, mixture: Mixture, max_iter: int, tell: Callable[[int, float], None]
    ) -> tuple[Mixture, int, float, str]:
        """Repeat passes until nothing is gained; return the mixture, the passes, its score in nats, and why it stopped."""
        best, best_valid, falls, before = mixture, -math.inf, 0, -math.inf
        for step in range(1, max_iter + 1):
            nats, updated, each = self.sweep(self.rows, mixture)
            tell(step, nats)
            climbed = ranks.share(self.objective(nats, mixture))  # all stop after the same pass
            if self.valid is not None:
                held_out = self.score(self.valid, mixture)
                falls = 0 if held_out > best_valid else falls + 1
                if held_out > best_valid:
                    best, best_valid = mixture, held_out
                if falls >= PATIENCE:
                    return (
                        best,
                        step,
                        nats,
                        f"stopped after {step} passes, validation score highest after {step - falls}",
                    )
            if climbed - before < self.tol:
                return mixture if self.valid is None else best, step, nats, f"converged after {step} passes"
            before, mixture = climbed, updated
            if step <= RESEEDS and (dead := updated.weights * self.rows.n < 0.5).any():
                mixture, before = self._plant(updated, dead, each), -math.inf
        return mixture if self.valid is None else best, max_iter, nats, f"stopped at the limit of {max_iter} passes"

    def _plant(self, mixture: Mixture, dead: Tensor, nats: Tensor) -> Mixture:
        """Put components that explain no record on the worst explained ones, by a pass with fixed responsibilities."""
        fixed = torch.empty(self.rows.n, dtype=torch.long)
        for g, (*_, rows) in enumerate(self.rows.groups):
            fixed[rows] = self._labels(mixture, g)
        fixed[_lowest(nats, int(dead.sum()))] = torch.nonzero(dead)[:, 0]
        return self.sweep(self.rows, mixture, fixed)[1]

    def _labels(self, mixture: Mixture, group: int) -> Tensor:
        em = self.statistics
        em.open(mixture.normals)  # type: ignore[arg-type]
        em.begin(self.rows.groups[group][0], self.rows.dtype)
        log_weights = mixture.weights.log().to(self.rows.dtype)
        found = [
            (em.density(numbers) + log_weights + _log_levels(one_hot, mixture.tables)).argmax(1)
            for numbers, one_hot, _ in self.rows.chunks(group)
        ]
        return torch.cat(found)


def _lowest(values: Tensor, count: int) -> Tensor:
    """Return the positions of the lowest values of all processes, `(count,)`."""
    own = values.topk(count, largest=False)
    found = ranks.all_rows(torch.stack([own.values, own.indices.double()], 1), count * ranks.world())
    return found[found[:, 0].argsort()[:count], 1].long()
