r"""Leaves of a forest as components on the whole space: a normal with a full covariance for numbers, frequencies for levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import Problem
from ._boxfit import leaf_sums, level_tables
from ._boxlaws import Laws
from ._forest import Features, Trees
from ._means import Means
from ._normals import Dense, log_mass, patterns, truncated
from ._normals import features as features_of

NARROW = 30  # up to this many numbers all pairs of products in one matrix product beat a product per leaf
FLOOR = 1e-6  # smallest share of a column's overall variance that a leaf may have
OUTER = 4_000_000  # entries of outer products held at once


@dataclass(frozen=True)
class NormalLeaves(Laws):
    """Components of all leaves.

    Arguments:
        cov: `(K, d, d)` covariances of the numbers.
    """

    cov: Tensor

    @cached_property
    def normals(self) -> Dense:
        """The components of the numbers."""
        return Dense(self.mean.double(), self.cov.double())

    @cached_property
    def _log_tables(self) -> Tensor:
        return self.tables.double().log().clamp_min(-1e4).T.contiguous()

    def rows(self, most: int) -> int:
        """Return how many records meet all leaves at once where `most` pairs may."""
        return max(1, most // (len(self.tables) * (1 + len(self.numbers))))

    def joint(self, x: Tensor) -> Tensor:
        """Return log densities `(n, K)` of codes under all leaves; what is unknown is left out."""
        levels, values = self.features.levels, self.values(x)
        out = levels.one_hot(x[:, levels.columns]) @ self._log_tables
        for columns, rows in patterns(~torch.isnan(values)) if self.numbers else []:
            out[rows] += self._log_density(values[rows][:, columns], columns)
        return out

    def _log_density(self, values: Tensor, columns: Tensor) -> Tensor:
        """Return log densities `(n, K)` of some numbers: one matrix product, on standardised numbers, where they are few."""
        normals = self.normals.at(columns)
        if not 0 < len(columns) <= NARROW:
            return normals.log_prob(values)
        m, s = self.overall[:, columns].double()
        standard = Dense((normals.mean - m) / s, normals.cov / (s[:, None] * s))
        return features_of((values - m) / s).T @ standard.quadratic() - s.log().sum()

    def pairs(self, x: Tensor, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, leaves and log densities: every record meets every leaf."""
        k = len(self.tables)
        for rows in torch.arange(len(x)).split(self.rows(most)):
            yield rows.repeat_interleave(k), torch.arange(k).repeat(len(rows)), self.joint(x[rows]).flatten()

    def evidence(self, x: Tensor, ranges: Mapping[int, tuple[float, float]]) -> Tensor:
        """Return `(K,)` log probabilities, or densities, of what is asked of one record `(d,)`, in every leaf."""
        total = self.levels_within(x, ranges)
        values = self.values(x[None])
        known = torch.nonzero(~torch.isnan(values[0]))[:, 0]
        if len(known):
            total = total + self.normals.at(known).log_prob(values[:, known])[0]
        for i, (low, high) in self._asked(ranges):
            mean, sd = (t[0] for t in self.normals.single(values[:, known], known, i))
            total = total + log_mass((low - mean) / sd, (high - mean) / sd)
        return total

    def _asked(self, ranges: Mapping[int, tuple[float, float]]) -> list[tuple[int, tuple[float, float]]]:
        inside = [(i, ranges[j]) for i, j in enumerate(self.numbers) if j in ranges]
        if len(inside) > 1:
            raise Problem(
                f"forest: {len(inside)} ranges at once need independent numbers within leaves. "
                'Give one range and otherwise values, or fit with leaf "product".'
            )
        return inside

    def draw(
        self, leaf: Tensor, values: Tensor, rng: torch.Generator, ranges: Mapping[int, tuple[float, float]] = {}
    ) -> Tensor:
        """Draw the unknown among numbers `(n, d)` given the others, in leaves `(n,)`, one column from within a range."""
        values = values.clone()
        for i, (low, high) in self._asked(ranges):  # all records ask the same
            known = torch.nonzero(~torch.isnan(values[0]))[:, 0]
            mean, sd = (t[0, leaf] for t in self.normals.single(values[:1, known], known, i))
            values[:, i] = mean + sd * truncated((low - mean) / sd, (high - mean) / sd, rng)
        noise = torch.randn(*values.shape, 1, dtype=torch.float64, generator=rng)
        parts = []
        for at, v, e in zip(
            *(t.split(max(1, OUTER // max(1, values.shape[1] ** 2))) for t in (leaf, values, noise)), strict=True
        ):
            lower = torch.linalg.cholesky(self.normals.cov[at])
            parts.append(self._completed(at, v, (lower @ e)[:, :, 0]))
        return torch.cat(parts)

    def modes(self, leaf: Tensor, values: Tensor) -> Tensor:
        """Return the numbers `(n, d)` that are likeliest in leaves given the known ones."""
        return self._completed(leaf, values, torch.zeros_like(values))

    def _completed(self, leaf: Tensor, values: Tensor, z: Tensor) -> Tensor:
        r"""Return known numbers and, for the others, \(\mu + z + \Sigma_{uo} \Sigma_{oo}^{-1} (x_o - \mu_o - z_o)\).

        With z from the leaf's own normal (around 0) it is a draw given the known ones, with z = 0 their mean.
        """
        known = ~torch.isnan(values)
        mean, cov = self.normals.mean[leaf], self.normals.cov[leaf]
        both = known[:, :, None] & known[:, None]
        inner = torch.where(both, cov, torch.eye(values.shape[1], dtype=torch.float64))
        off = torch.where(known, values - mean - z, 0.0)
        moved = mean + z + (cov @ torch.linalg.solve(inner, off[:, :, None]))[:, :, 0]
        return torch.where(known, values, moved)

    def expect(self, leaf: Tensor, values: Tensor, means: Means) -> Tensor:
        """Return the means `(pairs, d)` of numbers given the known ones, curves applied; all records meet all leaves in turn."""
        k = len(self.tables)
        own = values[::k]
        out = own[:, None].repeat(1, k, 1)
        for columns, rows in patterns(torch.isnan(own)):
            known = torch.nonzero(~torch.isnan(own[rows[0]]))[:, 0]
            out[rows[:, None], :, columns] = self.normals.expect(own[rows][:, known], known, columns).transpose(1, 2)
            for i in columns.tolist():
                j = self.numbers[i]
                if means.curve(j) is not None:
                    out[rows, :, i] = means.of_normal(j, *self.normals.single(own[rows][:, known], known, i))
        return out.flatten(0, 1)


def fit_normals(
    features: Features, trees: Trees, x: Tensor, completed: Tensor, smoothing: float
) -> tuple[NormalLeaves, Tensor]:
    """Return the components that the leaves of a forest make, and how many records each holds: see `fit_leaves`.

    The covariance of a leaf holds d + 1 pseudo-records with the pooled variances of all leaves.
    """
    numbers = features.layout.columns("real")
    v, d, k = x[:, numbers].double(), len(numbers), trees.leaves
    shown = ~torch.isnan(v)
    m = torch.nan_to_num(v).sum(0) / shown.sum(0).clamp_min(1)
    v = torch.where(shown, v - m, 0.0)
    variance = v.square().sum(0) / shown.sum(0).clamp_min(1)
    variance = torch.where(variance > 1e-18, variance, 1.0)
    held, (seen, first) = leaf_sums(trees, completed, [shown.double(), v])
    mean = first / seen.clamp_min(1)
    second = torch.zeros(k, d * d, dtype=torch.float64)
    for t in range(trees.count):
        leaf = trees.leaf_of(completed, t)
        for rows in torch.arange(len(v)).split(max(1, OUTER // max(1, d * d))):
            off = torch.where(shown[rows], v[rows] - mean[leaf[rows]], 0.0)
            second.index_add_(0, leaf[rows], (off[:, :, None] * off[:, None]).flatten(1))
    second = second.view(k, d, d)
    scatter = second.diagonal(dim1=1, dim2=2)
    pooled = torch.maximum(scatter.sum(0) / (seen - 1).clamp_min(0).sum(0).clamp_min(1), FLOOR * variance)
    cov = second / (held + d + 1)[:, None, None]
    # A number that some records lack has its own count: what this adds to the diagonal is never negative.
    cov.diagonal(dim1=1, dim2=2).copy_((scatter + (d + 1) * pooled) / (seen + d + 1))
    tables = level_tables(features, trees, x, completed, smoothing)
    return NormalLeaves(features, tables, mean + m, torch.stack([m, variance.sqrt()]), cov), held
