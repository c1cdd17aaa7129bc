r"""Laws inside the leaves of a forest: independent columns, each with its own law on the leaf's side of the box.

Levels have smoothed frequencies. A number has a truncated normal distribution mixed with the column's overall one, cut off at the
same ends,

\[ f_k(v) = (1 - \epsilon_k)\, N(v; \mu_k, \sigma_k \mid l_k < v \le h_k) + \epsilon_k\, N(v; m, s \mid l_k < v \le h_k),
\qquad \epsilon_k = \frac{a}{n_k + a}, \]

with \(n_k\) records in the leaf and a pseudo-records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ._forest import LOWEST, Features, Trees
from ._means import NODES, Means
from ._normals import LOG_2PI, log_mass, truncated, truncated_quantile

AT_ONCE = 500_000  # densities of a record in a leaf


@dataclass(frozen=True)
class Laws:
    """What the laws of all leaves have in common.

    Arguments:
        features: How codes become features.
        tables: `(K, width)` probabilities of levels.
        mean: `(K, d)` means of the normals of numbers.
        overall: `(2, d)` mean and standard deviation of all numbers.
    """

    features: Features
    tables: Tensor
    mean: Tensor
    overall: Tensor

    @cached_property
    def numbers(self) -> list[int]:
        """Columns of numbers."""
        return self.features.layout.columns("real")

    def values(self, x: Tensor) -> Tensor:
        """Return the numbers of codes, `(n, d)` float64, NaN where there is none or it is unknown."""
        return x[:, self.numbers].double()

    def levels_within(self, x: Tensor, ranges: Mapping[int, tuple[float, float]]) -> Tensor:
        """Return `(K,)` log probabilities of what is asked of the levels of one record `(d,)`."""
        levels = self.features.levels
        places = levels.within(x, dict(ranges)).to(self.tables.dtype)
        return levels.total(self.tables * places).double().log().sum(1)

    @cached_property
    def _present(self) -> Tensor:
        """Probabilities of levels given that no value is missing, `(K, width)`."""
        return self.features.levels.present(self.tables)

    def openness(self, leaf: Tensor, fill: Tensor) -> Tensor:
        """Return how much leaves `(n,)` believe that numbers are there, `(n, d)`: 1 unless their gate is to be filled.

        Arguments:
            leaf: `(n,)`.
            fill: `(n, columns)`, True where a level is to be filled in.
        """
        levels, gates = self.features.levels, self.features.gates
        out = torch.ones(len(leaf), len(self.numbers), dtype=torch.float64)
        for u, j in enumerate(self.numbers):
            if j in gates:
                i = levels.columns.index(gates[j])
                out[:, u] = torch.where(fill[:, i], self._present[leaf, int(levels.start[i])].double(), 1.0)
        return out


@dataclass(frozen=True)
class Leaves(Laws):
    """Product laws of all leaves, on their boxes.

    Arguments:
        trees: The boxes.
        sd: `(K, d)` standard deviations of the untruncated normals.
        share: `(K,)` share of the overall law.
    """

    trees: Trees
    sd: Tensor
    share: Tensor

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Lower and upper ends of the numbers `(K, d)`; infinite where a leaf holds no number at all."""
        return number_ends(self.trees.boxes(self.features.layout.size), self.numbers)

    @cached_property
    def laws(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Log share, mean and standard deviation of both parts of every leaf's law, `(K, d)` each."""
        share = self.share[:, None].double().expand_as(self.mean)
        m, s = (t.expand_as(self.mean) for t in self.overall.double())
        return [
            (torch.log1p(-share), self.mean.double(), self.sd.double()),
            (share.log(), m, s),
        ]

    @cached_property
    def _constants(self) -> Tensor:
        """What a number's density takes from a leaf, `(K, 4 d)`: mean, precision and both constants."""
        low, high = self.ends
        own, other = (
            log_share - sd.log() - 0.5 * LOG_2PI - log_mass((low - mean) / sd, (high - mean) / sd)
            for log_share, mean, sd in self.laws
        )
        return torch.cat([self.mean.double(), 1 / self.sd.double(), own, other], 1)

    @cached_property
    def _log_tables(self) -> Tensor:
        """Log probabilities of levels, with a last column of zeros for what is unknown."""
        return torch.nn.functional.pad(self.tables.log(), (0, 1)).reshape(-1)

    def places(self, x: Tensor) -> Tensor:
        """Return where the tables hold the levels of codes `(n, d)`, `(n, columns)`: past the end for what is unknown."""
        level = torch.nan_to_num(x[:, self.features.levels.columns].double(), nan=-1.0).long()
        return torch.where(level < 0, self.tables.shape[1], level + self.features.levels.start)

    def log_prob(self, values: Tensor, places: Tensor, leaf: Tensor) -> Tensor:
        """Return log densities `(n,)` of records in leaves `(n,)` whose boxes hold them.

        Arguments:
            values: `(n, d)` numbers, NaN where there is none or it is unknown: it is left out.
            places: `(n, columns)` levels, see `places`.
            leaf: `(n,)`.
        """
        at = places + (leaf * (self.tables.shape[1] + 1))[:, None]
        total = self._log_tables.index_select(0, at.flatten()).view(at.shape).sum(1).double()
        if self.numbers:
            mean, precision, own, other = self._constants.index_select(0, leaf).chunk(4, 1)
            m, s = self.overall.double()
            own = own - 0.5 * ((values - mean) * precision).square()
            each = torch.logaddexp(own, other - 0.5 * ((values - m) / s).square())
            total += torch.nan_to_num(each, nan=0.0, posinf=torch.inf, neginf=-torch.inf).sum(1)
        return total

    def pairs(self, x: Tensor, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, leaves and log densities of all leaves that may hold codes `(n, d)`; what is unknown is left out."""
        values, places = self.values(x), self.places(x)
        for rows, leaf in self.trees.compatible(self.features(x), most):
            parts = zip(rows.split(AT_ONCE), leaf.split(AT_ONCE), strict=True)
            yield rows, leaf, torch.cat([self.log_prob(values[r], places[r], k) for r, k in parts])

    # -- conditions --------------------------------------------------------------------------------------------------
    def evidence(self, x: Tensor, ranges: Mapping[int, tuple[float, float]]) -> Tensor:
        """Return `(K,)` log probabilities, or densities, of what is asked of one record `(d,)`, in every leaf."""
        total, (low, high) = self.levels_within(x, ranges), self.ends
        for i, j in enumerate(self.numbers):
            if not bool(torch.isnan(x[j])):
                inside = (x[j] > low[:, i]) & (x[j] <= high[:, i])
                mean, precision, own, other = self._constants[:, i :: len(self.numbers)].T
                m, s = self.overall[:, i].double()
                value = torch.logaddexp(
                    own - 0.5 * ((x[j] - mean) * precision).square(), other - 0.5 * ((x[j] - m) / s).square()
                )
                total = total + torch.where(inside, value, -torch.inf)
            if j in ranges:
                total = total + torch.logsumexp(torch.stack(self._within(i, slice(None), ranges[j])[2]), 0)
        return total

    def _within(self, i: int, leaf: Tensor | slice, asked: tuple[float, float]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return ends and the log masses of both parts of a number's law, in leaves cut down to a range."""
        low, high = (t[leaf, i] for t in self.ends)
        a, b = low.clamp_min(asked[0]), high.clamp_max(asked[1])
        empty = a >= b
        a, b = torch.where(empty, low, a), torch.where(empty, high, b)
        masses = []
        for log_share, mean, sd in self.laws:
            mu, spread = mean[leaf, i], sd[leaf, i]
            whole = log_mass((low - mu) / spread, (high - mu) / spread)
            mass = log_share[leaf, i] + log_mass((a - mu) / spread, (b - mu) / spread) - whole
            masses.append(mass.masked_fill(empty, -torch.inf))
        return a, b, masses

    # -- draws -------------------------------------------------------------------------------------------------------
    def draw(
        self, leaf: Tensor, values: Tensor, rng: torch.Generator, ranges: Mapping[int, tuple[float, float]] = {}
    ) -> Tensor:
        """Draw numbers `(n, d)` in leaves `(n,)`, some from within ranges; the known `values` say nothing about the others."""
        out = torch.empty(len(leaf), len(self.numbers), dtype=torch.float64)
        for i, j in enumerate(self.numbers):
            low, high, (own, other) = self._within(i, leaf, ranges.get(j, (-math.inf, math.inf)))
            u = torch.rand(len(leaf), dtype=torch.float64, generator=rng)
            second = u >= torch.sigmoid(torch.nan_to_num(own - other, posinf=1e3, neginf=-1e3))
            mean, sd = (
                torch.where(second, b[leaf, i], a[leaf, i])
                for a, b in zip(*(law[1:] for law in self.laws), strict=True)
            )
            z = truncated((low - mean) / sd, (high - mean) / sd, rng)
            out[:, i] = torch.minimum(torch.maximum(mean + sd * z, low), high)
        return out

    @cached_property
    def means(self) -> Tensor:
        """Means of the numbers in every leaf, `(K, d)`."""
        low, high = self.ends
        parts = [
            log_share.exp() * truncated_moments(mean, sd, low, high)[0].clamp(low, high)
            for log_share, mean, sd in self.laws
        ]
        return parts[0] + parts[1]

    def expect(self, leaf: Tensor, values: Tensor, means: Means) -> Tensor:
        """Return the means of numbers in leaves `(n,)`, `(n, d)`, their curves applied."""
        out = self.means[leaf]
        for i, j in enumerate(self.numbers):
            if (curve := means.curve(j)) is not None:
                if i not in self._curved:
                    self._curved[i] = self._mean_of(i, curve)
                out[:, i] = self._curved[i][leaf]
        return out

    @cached_property
    def _curved(self) -> dict[int, Tensor]:
        """What `expect` has found of the numbers with curves."""
        return {}

    def _mean_of(self, i: int, curve: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean `(K,)` of a curve of a number in every leaf: over the quantiles of both parts of its law."""
        low, high = (t[:, i] for t in self.ends)
        total = torch.zeros(len(low), dtype=torch.float64)
        for log_share, mean, sd in ((t[:, i] for t in law) for law in self.laws):
            a, b = (low - mean) / sd, (high - mean) / sd
            nodes = [truncated_quantile(a, b, torch.full_like(a, (q + 0.5) / NODES)) for q in range(NODES)]
            total += log_share.exp() * torch.stack([curve(mean + sd * z) for z in nodes]).mean(0)
        return total

    def modes(self, leaf: Tensor, values: Tensor) -> Tensor:
        """Return where the truncated normals of leaves `(n,)` are highest, `(n, d)`."""
        low, high = self.ends
        return self.mean.double()[leaf].clamp(low[leaf], high[leaf])


def number_ends(boxes: tuple[Tensor, Tensor], numbers: list[int]) -> tuple[Tensor, Tensor]:
    """Return the ends of the numbers among those of all features."""
    low, high = (t[:, numbers] for t in boxes)
    none = high == -torch.inf  # absent only: its law is of no account
    return torch.where(none | (low <= LOWEST), -torch.inf, low), torch.where(none, torch.inf, high)


def allowed(features: Features, boxes: tuple[Tensor, Tensor]) -> Tensor:
    """Return the levels that boxes leave, `(K, width)` bool."""
    low, high = boxes
    levels = features.levels
    owner = torch.tensor(levels.columns, dtype=torch.long)[levels.owner]
    places = (features.rank > low[:, owner]) & (features.rank <= high[:, owner])
    for j, gate in features.gates.items():
        i = levels.columns.index(gate)
        first, last = int(levels.start[i]), int(levels.start[i]) + levels.counts[i]
        places[:, first] &= high[:, j] > -torch.inf  # a number is there
        places[:, first + 1 : last] &= (low[:, j] == -torch.inf)[:, None]
    return places


def truncated_moments(mean: Tensor, sd: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of normal distributions that are cut off at two ends."""
    a, b = (low - mean) / sd, (high - mean) / sd
    log_z = log_mass(a, b)

    def density(t: Tensor) -> Tensor:
        return torch.exp(-0.5 * t.square() - 0.5 * LOG_2PI - log_z)

    def weighted(t: Tensor) -> Tensor:
        return torch.where(torch.isinf(t), 0.0, t * density(t))

    shift = density(a) - density(b)
    variance = 1 + weighted(a) - weighted(b) - shift.square()
    return mean + sd * shift, sd.square() * variance
