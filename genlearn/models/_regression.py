"""Numbers given their parents: regressions, one for each configuration of the categories, and normal distributions per record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._network import check_table, mixed
from ._normals import LOG_2PI

FLOOR = 1e-6  # smallest residual variance, as a share of the column's


@dataclass(frozen=True)
class Regression:
    """A number given its parents.

    Arguments:
        nodes: Discrete parents.
        numbers: Parents that are numbers.
        weights: `(configurations of the discrete parents, 2 + number parents)`: intercept, slopes, variance.
    """

    nodes: tuple[int, ...]
    numbers: tuple[int, ...]
    weights: Tensor

    @classmethod
    def fit(
        cls,
        j: int,
        nodes: Sequence[int],
        numbers: Sequence[int],
        levels: Tensor,
        values: Tensor,
        sizes: Sequence[int],
        strength: float,
    ) -> Regression:
        """Fit column `j` of `values` where it and its parents are known, every configuration drawn to the regression of all.

        Arguments:
            j: The number.
            nodes: Its discrete parents.
            numbers: Its parents that are numbers.
            levels: `(n, discrete nodes)`.
            values: `(n, numbers)`.
            sizes: Levels of the discrete nodes.
            strength: Pseudo-records of that prior, per coefficient.
        """  # fmt: skip
        q, p = math.prod(sizes[u] for u in nodes), len(numbers) + 1
        check_table(q * p * p, len(nodes))
        known = (levels[:, list(nodes)] >= 0).all(1) & ~torch.isnan(values[:, [j, *numbers]]).any(1)
        y, config = values[known, j], mixed(levels[known], nodes, sizes)
        z = torch.cat([torch.ones(len(y), 1, dtype=torch.float64), values[known][:, list(numbers)]], 1)

        def by_config(terms: Tensor) -> Tensor:
            return torch.zeros(q, *terms.shape[1:], dtype=torch.float64).index_add_(0, config, terms)

        n, zz = by_config(torch.ones(len(y), dtype=torch.float64)), by_config(z[:, :, None] * z[:, None])
        zy, yy = by_config(z * y[:, None]), by_config(y.square())
        total = max(len(y), 1)
        spread = float(y.var(correction=0)) if len(y) else 1.0
        mean_zz, mean_zy = zz.sum(0) / total, zy.sum(0) / total
        mean_zz = mean_zz + torch.diag(1e-9 * mean_zz.diagonal() + 1e-12)
        pooled = torch.linalg.solve(mean_zz, mean_zy)
        noise = max(float(yy.sum()) / total - float(pooled @ mean_zy), FLOOR * spread + 1e-12)
        prior = strength * (p + 1)
        slopes = torch.linalg.solve(zz + prior * mean_zz, zy + prior * (mean_zz @ pooled))
        off = slopes - pooled
        rest = yy - 2 * (slopes * zy).sum(1) + torch.einsum("qi,qij,qj->q", slopes, zz, slopes)
        rest = rest.clamp_min(0) + prior * (noise + torch.einsum("qi,ij,qj->q", off, mean_zz, off))
        variance = (rest / (n + prior)).clamp_min(FLOOR * spread + 1e-12)
        return cls(tuple(nodes), tuple(numbers), torch.cat([slopes, variance[:, None]], 1))


@dataclass
class Normal:
    """Normal distributions of some numbers, one for each record: names, means `(n, k)`, covariances `(n, k, k)`."""

    members: list[int]
    mean: Tensor
    cov: Tensor

    def _places(self, known: frozenset[int]) -> tuple[list[int], list[int]]:
        o = [i for i, j in enumerate(self.members) if j in known]
        return o, [i for i in range(len(self.members)) if i not in o]

    def log_prob(self, known: frozenset[int], values: Tensor) -> Tensor:
        """Return the log density `(n,)` of the known ones."""
        o, _ = self._places(known)
        if not o:
            return torch.zeros(len(self.mean), dtype=torch.float64)
        off = values[:, [self.members[i] for i in o]] - self.mean[:, o]
        lower = torch.linalg.cholesky(self.cov[:, o][:, :, o])
        z = torch.linalg.solve_triangular(lower, off[:, :, None], upper=False)[:, :, 0]
        return -0.5 * (z.square().sum(1) + len(o) * LOG_2PI) - lower.diagonal(dim1=1, dim2=2).log().sum(1)

    def given(self, known: frozenset[int], values: Tensor) -> Normal:
        """Return the distribution of the others given the known ones."""
        o, u = self._places(known)
        if not o:
            return self
        off = values[:, [self.members[i] for i in o]] - self.mean[:, o]
        cross = self.cov[:, u][:, :, o]
        gain = torch.cholesky_solve(cross.transpose(1, 2), torch.linalg.cholesky(self.cov[:, o][:, :, o])).transpose(
            1, 2
        )
        mean = self.mean[:, u] + (gain @ off[:, :, None])[:, :, 0]
        return Normal([self.members[i] for i in u], mean, self.cov[:, u][:, :, u] - gain @ cross.transpose(1, 2))

    def single(self, j: int) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation `(n,)` of one number."""
        i = self.members.index(j)
        return self.mean[:, i], self.cov[:, i, i].clamp_min(1e-300).sqrt()

    def draw(self, rng: torch.Generator) -> Tensor:
        """Draw all of them, `(n, k)`."""
        values, vectors = torch.linalg.eigh(self.cov)  # may be singular up to rounding
        noise = torch.randn(self.mean.shape, dtype=torch.float64, generator=rng)
        return self.mean + (vectors @ (values.clamp_min(0).sqrt() * noise)[:, :, None])[:, :, 0]
