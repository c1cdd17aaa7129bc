"""A mixture of Gaussian components times level tables, and the EM loop that fits it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .. import ranks
from ._em import Statistics
from ._normals import Normals, patterns
from ._ragged import Ragged
from ._rows import CHUNK, Group, Rows

__all__ = ["CHUNK", "Assign", "Fitter", "Mixture", "Rows", "log_levels"]

PATIENCE = 3  # passes that the validation score may fall before EM stops
FAINT = -60.0  # smallest log share of a record: smaller ones add nothing, and products of denormal numbers are slow
RESEEDS = 3  # passes in which a dead component may be planted anew

Assign = Callable[[Tensor, Tensor], Tensor]  # log joint (n, K) and places (n,) of a chunk -> its components (n,)


@dataclass
class Mixture:
    """Weights `(K,)`, Gaussian components, and level probabilities `(K, width)`."""

    weights: Tensor
    normals: Normals
    tables: Tensor

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def point(self) -> Mixture:
        """The mixture that stands for this one: itself, where parameters are points."""
        return self

    def joint(self, numbers: Tensor, one_hot: Tensor) -> Tensor:
        """Return `(n, K)` logs of weight times density; NaN numbers and zero rows of `one_hot` are marginalised."""
        out = self.weights.log() + log_levels(one_hot, self.tables)
        for columns, rows in patterns(~torch.isnan(numbers)):
            out[rows] += self.normals.at(columns).log_prob(numbers[rows][:, columns])
        return out


def log_levels(one_hot: Tensor, tables: Tensor) -> Tensor:
    """Return `(n, K)` log probabilities of levels."""
    return one_hot @ tables.log().clamp_min(-1e4).to(one_hot.dtype).T


class Lowest:
    """The worst explained records so far: their log densities and places, `(count,)` at most.

    Arguments:
        count: How many are kept.
    """

    def __init__(self, count: int) -> None:
        self.count, self.found = count, torch.empty(0, 2, dtype=torch.float64)

    def add(self, nats: Tensor, places: Tensor) -> None:
        """Look at a chunk."""
        own = nats.topk(min(self.count, len(nats)), largest=False)
        found = torch.cat([self.found, torch.stack([own.values.double(), places[own.indices].double()], 1)])
        self.found = found[found[:, 0].argsort(stable=True)[: self.count]]

    def places(self, count: int) -> Tensor:
        """Return the places of the lowest of all processes, `(count,)`."""
        padded = torch.full((self.count, 2), math.inf, dtype=torch.float64)
        padded[: len(self.found)] = self.found
        found = ranks.all_rows(padded, self.count * ranks.world())
        return found[found[:, 0].argsort(stable=True)[:count], 1].long()


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

    plants: ClassVar[bool] = True  # components that explain no record begin anew in the first passes

    rows: Rows
    valid: Rows | None
    statistics: Statistics
    base: Tensor
    smoothing: float
    tol: float

    def sweep(
        self, rows: Rows, mixture: Mixture, assign: Assign | None = None, lowest: Lowest | None = None
    ) -> tuple[float, Mixture]:
        """Visit all records once; return the mean log density of the old mixture in nats, and the updated mixture.

        Arguments:
            rows: Records.
            mixture: Where to start.
            assign: Gives every record to one component, in place of the responsibilities.
            lowest: Is shown the log density of every record.
        """
        k, em = len(mixture), self.statistics
        em.open(mixture.normals)  # type: ignore[arg-type]
        log_weights = mixture.weights.log()
        counts = torch.zeros(k, rows.levels.width, dtype=torch.float64)
        weights = torch.zeros(k, dtype=torch.float64)
        total = torch.zeros(1, dtype=torch.float64)
        for group, step in self._groups(rows, k):
            em.begin(group.columns, rows.dtype, group.ragged)
            for numbers, one_hot, heavy, places in rows.chunks(group, step):
                joint = em.density(numbers).add_(log_weights.to(rows.dtype))
                if rows.levels.width:
                    joint += log_levels(one_hot, mixture.tables)
                if assign is None:
                    top = joint.amax(1, keepdim=True)
                    r = joint.sub_(top).clamp_min_(FAINT).exp_()
                    mass = r.sum(1, keepdim=True)
                    each = (mass.log() + top)[:, 0].double()
                    r /= mass
                else:
                    each = torch.logsumexp(joint, 1).double()
                    r = torch.nn.functional.one_hot(assign(joint, places), k).to(joint.dtype)
                if lowest is not None:
                    lowest.add(each if heavy is None else torch.where(heavy > 0, each, math.inf), places)
                if heavy is not None:
                    each, r = each * heavy, r * heavy[:, None].to(r.dtype)
                total += each.sum()
                em.add(r)
                if rows.levels.width:
                    counts += (r.T @ one_hot.to(r.dtype)).double()
                weights += r.sum(0).double()
            em.end()
        ranks.add_up([*em.collected(), counts, weights, total])
        self._sums = weights, counts
        return float(total) / rows.mass, self.maximise(weights, counts)

    def _groups(self, rows: Rows, k: int) -> Iterator[tuple[Group, int]]:
        """Yield groups of records and how many of them make a chunk."""
        for group in rows.visit(self.statistics.together):
            d = group.numbers.shape[1]
            yield group, Ragged.step(k, d) if group.ragged else rows.step

    def again(self) -> Mixture:
        """Return the mixture that the sums of the last pass give, under a prior that has changed since."""
        return self.maximise(*self._sums)

    def maximise(self, weights: Tensor, counts: Tensor) -> Mixture:
        """Return the mixture that the sums of a pass give."""
        counts = counts + self.smoothing * self.base
        tables = self.rows.levels.share(counts.clamp_min(1e-300)) if self.rows.levels.width else counts
        return Mixture(weights / weights.sum(), self.statistics.update(), tables)

    def score(self, rows: Rows, mixture: Mixture) -> float:
        """Return the mean log density of the records, nats."""
        em, total = self.statistics, torch.zeros(1, dtype=torch.float64)
        em.open(mixture.normals)  # type: ignore[arg-type]
        for group, step in self._groups(rows, len(mixture)):
            em.begin(group.columns, rows.dtype, group.ragged)
            for numbers, one_hot, heavy, _ in rows.chunks(group, step):
                joint = em.density(numbers) + mixture.weights.log().to(rows.dtype)
                each = torch.logsumexp(joint + log_levels(one_hot, mixture.tables), 1).double()
                total += each.sum() if heavy is None else each @ heavy
        ranks.add_up([total])
        return float(total) / rows.mass

    def objective(self, nats: float, mixture: Mixture) -> float:
        """Return what EM climbs: the mean log density plus the log prior, nats per record."""
        prior = self.statistics.penalty(mixture.normals)  # type: ignore[arg-type]
        prior += self.smoothing * float((self.base * mixture.tables.clamp_min(1e-300).log()).sum())
        return nats + prior / self.rows.mass

    def run(
        self, mixture: Mixture, max_iter: int, tell: Callable[[int, float], None]
    ) -> tuple[Mixture, int, float, str]:
        """Repeat passes until nothing is gained; return the mixture, the passes, its score in nats, and why it stopped."""
        best, best_valid, falls, before = mixture, -math.inf, 0, -math.inf
        for step in range(1, max_iter + 1):
            lowest = Lowest(len(mixture)) if self.plants and step <= RESEEDS else None
            nats, updated = self.sweep(self.rows, mixture, lowest=lowest)
            tell(step, nats)
            climbed = ranks.share(self.objective(nats, mixture))  # all stop after the same pass
            if self.valid is not None:
                held_out = self.score(self.valid, mixture.point)
                falls = 0 if held_out > best_valid else falls + 1
                if held_out > best_valid:
                    best, best_valid = mixture, held_out
                if falls >= PATIENCE:
                    why = f"stopped after {step} passes, validation score highest after {step - falls}"
                    return best, step, nats, why
            if climbed - before < self.tol:
                return mixture if self.valid is None else best, step, nats, f"converged after {step} passes"
            before, mixture = climbed, updated
            if lowest is not None and (dead := updated.weights * self.rows.mass < 0.5).any():
                mixture, before = self._plant(updated, dead, lowest), -math.inf
        return mixture if self.valid is None else best, max_iter, nats, f"stopped at the limit of {max_iter} passes"

    def _plant(self, mixture: Mixture, dead: Tensor, lowest: Lowest) -> Mixture:
        """Put components that explain no record on the worst explained ones, by a pass with fixed responsibilities."""
        idle = torch.nonzero(dead)[:, 0]
        planted = dict(zip(lowest.places(len(idle)).tolist(), idle.tolist(), strict=False))

        def assign(joint: Tensor, places: Tensor) -> Tensor:
            found = joint.argmax(1)
            for place, component in planted.items():
                found[places == place] = component
            return found

        return self.sweep(self.rows, mixture, assign)[1]
