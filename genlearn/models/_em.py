r"""Expectation-maximisation for Gaussian components: statistics of one pass over the records, and the update they give.

A pass visits the records grouped by which numbers they show. For each group `begin(columns)`, for each chunk `density(x)` and
`add(r)` with the responsibilities, then `end()`. What was `collected` is added up over processes, and `update()` closes the pass.
The posterior mode under a conjugate prior is sought: \(\nu\) pseudo-records with covariance \(B\) stand beside the records of every
component, so that a component with few records shrinks towards \(B\) instead of collapsing.

References:
    Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster et al., 1977), https://www.jstor.org/stable/2984875
    Bayesian Regularization for Normal Mixture Estimation (Fraley & Raftery, 2007), https://doi.org/10.1007/s00357-007-0004-5
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ._normals import PAIRS, Dense, Factored, features, squares
from ._ragged import Ragged

FLOOR = 1e-9  # smallest variance of a standardised column, when no prior holds it up
# Precision of a column, and of all columns together, beyond which a log density loses its digits in float32.
NARROW, SHARP, SHARPEST = 1e4, 3e4, 1e6
FAINT = 1e-20  # smallest share of a record that counts for a component that is worked out alone


class DenseEM:
    """Statistics for full (or tied) covariance matrices, with missing numbers replaced by their conditional moments.

    Arguments:
        strength: Pseudo-records of the prior, for every component.
        tied: One matrix for all components.
    """

    together: ClassVar[bool] = True  # patterns of few records are worked out together
    target: Tensor | None = None

    def __init__(self, strength: float, tied: bool = False, floor: float = FLOOR) -> None:
        self.strength, self.tied, self.floor = strength, tied, floor

    def centre_prior(self, weights: Tensor, normals: Dense) -> None:
        """Centre the prior between the clusters' pooled covariance and an even cut of the whole into `K` parts."""
        pooled = torch.einsum("k,kij->ij", weights, normals.cov)
        self.target = 0.9 * pooled + 0.1 * _even_cut(normals.mean) * torch.eye(len(pooled), dtype=pooled.dtype)

    def open(self, normals: Dense) -> None:
        """Start a pass."""
        k, d = normals.mean.shape
        self.normals = normals
        self.total = normals.mean.new_zeros(k)
        self.first = normals.mean.new_zeros(k, d)
        self.second = normals.mean.new_zeros(k, d, d)

    def begin(self, columns: Tensor, dtype: torch.dtype, ragged: bool = False) -> None:
        """Start a group of records that show `columns`, or some of them if it is `ragged`.

        Products of pairs of columns serve all components at once, but lose digits of a component that is narrow or sharp beside
        the whole: in float32 such components are worked out one by one, centred.
        """
        self.ragged = Ragged(self.normals) if ragged else None
        if self.ragged is not None:
            return
        k, d = self.normals.mean.shape
        self.columns, self.rest = columns, _others(columns, d)
        self.part = self.normals.at(columns) if len(self.rest) else self.normals
        o, precisions = len(columns), self.part.precision.diagonal(dim1=1, dim2=2)
        alone = torch.full((k,), o > PAIRS, device=precisions.device)
        if o and dtype == torch.float32:
            alone |= (precisions.amax(1) > NARROW) | (precisions.sum(1) > SHARP)
        self.alone, self.shared = torch.nonzero(alone)[:, 0], torch.nonzero(~alone)[:, 0]
        self.single = self.part.of(self.alone)
        self.loadings = self.part.of(self.shared).quadratic().to(dtype) if len(self.shared) else None
        self.sums = self.total.new_zeros(len(self.shared), o * (o + 1) // 2 + o + 1)
        zeros, kept = self.total.new_zeros, len(self.alone)
        self.moments = [zeros(kept), zeros(kept, o), zeros(kept, o, o)]  # about the old means

    def density(self, x: Tensor) -> Tensor:
        """Return `(n, K)` log densities of a chunk."""
        if self.ragged is not None:
            return self.ragged.density(x)
        self.chunk = x
        if self.loadings is None:
            return self.single.log_prob(x)
        self.products = features(x)
        shared = self.loadings.T @ self.products
        if not len(self.alone):
            return shared.T
        out = x.new_empty(len(self.normals.mean), len(x))
        out[self.shared], out[self.alone] = shared, self.single.log_prob(x).T
        return out.T

    def add(self, r: Tensor) -> None:
        """Add the last chunk with responsibilities `(n, K)`."""
        if self.ragged is not None:
            self.ragged.add(r)
            return
        if self.loadings is not None:
            self.sums += (self.products @ (r[:, self.shared] if len(self.alone) else r)).T.double()
        total, first, second = self.moments
        for i, k in enumerate(self.alone.tolist()):
            rows = torch.nonzero(r[:, k] > FAINT)[:, 0]
            away, own = self.chunk[rows] - self.single.mean[i].to(r.dtype), r[rows, k]
            weighted = away * own[:, None]
            total[i] += own.sum().double()
            first[i] += weighted.sum(0).double()
            second[i] += (weighted.T @ away).double()

    def end(self) -> None:
        """Close a group: add its moments, with those of the numbers it does not show, given what it shows."""
        if self.ragged is not None:
            self.total += self.ragged.total
            self.first += self.ragged.first
            self.second += self.ragged.second
            return
        n, s, ss = self._moments()
        o, u = self.columns, self.rest
        self.total += n
        self.first[:, o] += s
        self.second[:, o[:, None], o] += ss
        if not len(u):
            return
        slope, c, cov = (t.double() for t in self.normals.regression(o, u))
        along = (slope @ s[:, :, None])[:, :, 0]
        cross = c[:, :, None] * s[:, None] + slope @ ss
        between = n[:, None, None] * (c[:, :, None] * c[:, None] + cov) + slope @ ss @ slope.transpose(1, 2)
        both = c[:, :, None] * along[:, None]
        self.first[:, u] += n[:, None] * c + along
        self.second[:, u[:, None], o] += cross
        self.second[:, o[:, None], u] += cross.transpose(1, 2)
        self.second[:, u[:, None], u] += between + both + both.transpose(1, 2)

    def collected(self) -> list[Tensor]:
        """Return what a pass has added up, float64."""
        return [self.total, self.first, self.second]

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return counts, sums and sums of products of the group, about 0."""
        k, o = len(self.normals.mean), len(self.columns)
        n, s, ss = self.total.new_zeros(k), self.total.new_zeros(k, o), self.total.new_zeros(k, o, o)
        if self.loadings is not None:
            i, j = torch.triu_indices(o, o, device=n.device)
            pairs = self.sums.new_zeros(len(self.sums), o, o)
            pairs[:, i, j] = pairs[:, j, i] = self.sums[:, : len(i)]
            n[self.shared], s[self.shared], ss[self.shared] = self.sums[:, -1], self.sums[:, len(i) : -1], pairs
        count, away, square = self.moments
        mean, total = self.single.mean, count[:, None, None]
        cross = mean[:, :, None] * away[:, None]
        n[self.alone], s[self.alone] = count, away + count[:, None] * mean
        ss[self.alone] = square + cross + cross.transpose(1, 2) + total * mean[:, :, None] * mean[:, None]
        return n, s, ss

    def update(self) -> Dense:
        """Return the components that maximise the expected log posterior."""
        n = self.total.clamp_min(1e-12)
        mean = self.first / n[:, None]
        scatter = self.second - self.total[:, None, None] * mean[:, :, None] * mean[:, None]
        if self.tied:
            scatter, n = scatter.sum(0, keepdim=True), n.sum(0, keepdim=True)
        if self.target is not None:
            scatter, n = scatter + self.strength * self.target, n + self.strength
        cov = scatter / n[:, None, None]
        cov.diagonal(dim1=1, dim2=2).add_(self.floor)
        cov = _held_up(0.5 * (cov + cov.transpose(1, 2)))
        return Dense(mean, cov.expand(len(mean), -1, -1).contiguous() if self.tied else cov)

    def penalty(self, normals: Dense) -> float:
        """Return the log prior of the components up to a constant, nats."""
        if not self.strength or self.target is None:
            return 0.0
        cov = normals.cov[:1] if self.tied else normals.cov
        trace = torch.linalg.solve(cov, self.target.expand_as(cov)).diagonal(dim1=1, dim2=2).sum()
        return float(-0.5 * self.strength * (torch.logdet(cov).sum() + trace))


class FactoredEM:
    r"""Statistics for factored covariances: mean and factors by weighted least squares on the latent moments.

    A missing number leaves its own column's regression alone, so no value is imputed.

    Arguments:
        strength: Pseudo-records of the prior, for every component.
        complete: No record misses a number: all columns share one normal matrix.
        spherical: One variance for all columns of a component.
    """

    together: ClassVar[bool] = False
    target: Tensor | None = None

    def __init__(self, strength: float, complete: bool = True, spherical: bool = False) -> None:
        self.strength, self.complete, self.spherical = strength, complete, spherical

    def centre_prior(self, weights: Tensor, normals: Factored) -> None:
        """Centre the prior between the clusters' pooled variances and an even cut of the whole into `K` parts."""
        self.target = 0.9 * weights @ normals.noise + 0.1 * _even_cut(normals.mean)

    def open(self, normals: Factored) -> None:
        """Start a pass."""
        (k, d), q = normals.mean.shape, normals.rank
        self.normals = normals
        zeros = normals.mean.new_zeros
        self.total, self.shown, self.square = zeros(k), zeros(k, d), zeros(k, d)
        self.gram = zeros(k, 1 if self.complete else d, q + 1, q + 1)
        self.cross = zeros(k, d, q + 1)

    def begin(self, columns: Tensor, dtype: torch.dtype, ragged: bool = False) -> None:
        """Start a group of records that show `columns`; it is never `ragged`."""
        part = self.normals if self.complete else self.normals.at(columns)
        sharp = bool(len(columns)) and float(part.noise.reciprocal().sum(1).max()) > SHARPEST
        self.dtype = torch.float64 if sharp else dtype
        self.part = Factored(part.mean.to(self.dtype), part.factors.to(self.dtype), part.noise.to(self.dtype))
        self.columns = columns
        k, q = len(part.mean), part.rank
        zeros, o = self.total.new_zeros, len(columns)
        self.group = [zeros(k), zeros(k, q + 1, q + 1), zeros(k, o, q + 1), zeros(k, o)]
        self.loadings = None if q else part.diagonal().to(self.dtype)
        self.sums = zeros(k, 2 * o + 1)

    def density(self, x: Tensor) -> Tensor:
        """Return `(n, K)` log densities of a chunk."""
        self.chunk = x.to(self.dtype)
        if self.loadings is not None:
            self.products = squares(self.chunk)
            return (self.loadings.T @ self.products).T
        self.projected = self.part.project(self.chunk)
        return self.part.log_prob(self.chunk, self.projected)

    def add(self, r: Tensor) -> None:
        """Add the last chunk with responsibilities `(n, K)`."""
        x, (n, k), r = self.chunk, r.shape, r.to(self.dtype)
        if self.loadings is not None:
            self.sums += (self.products @ r).T.double()
            return
        z = self.part.latents(x, self.projected)
        z = torch.cat([z, torch.ones(k, n, 1, dtype=z.dtype)], 2)
        weighted = z * r.T[:, :, None]
        total, gram, cross, square = self.group
        total += r.sum(0).double()
        gram += (weighted.transpose(1, 2) @ z).double()
        sides = x.T @ weighted.permute(1, 0, 2).reshape(n, -1)
        cross += sides.view(x.shape[1], k, z.shape[2]).permute(1, 0, 2).double()
        square += (r.T @ x.square()).double()

    def end(self) -> None:
        """Close a group."""
        total, gram, cross, square = self.group
        q, o = self.part.rank, self.columns
        if self.loadings is not None:
            d, total = len(o), self.sums[:, -1]
            gram, cross, square = total[:, None, None], self.sums[:, d : 2 * d, None], self.sums[:, :d]
        if q:
            gram[:, :q, :q] += total[:, None, None] * self.part.latent_cov.double()
        self.total += total
        self.shown[:, o] += total[:, None]
        self.gram[:, torch.zeros(1, dtype=torch.long) if self.complete else o] += gram[:, None]
        self.cross[:, o] += cross
        self.square[:, o] += square

    def collected(self) -> list[Tensor]:
        """Return what a pass has added up, float64."""
        return [self.total, self.shown, self.gram, self.cross, self.square]

    def update(self) -> Factored:
        """Return the components that maximise the expected log posterior."""
        gram = self.gram + 1e-10 * torch.eye(self.gram.shape[-1], dtype=torch.float64)
        if self.complete:
            loadings = torch.linalg.solve(gram[:, 0], self.cross.transpose(1, 2)).transpose(1, 2)
        else:
            loadings = torch.linalg.solve(gram, self.cross[:, :, :, None])[:, :, :, 0]
        left = (self.square - (loadings * self.cross).sum(2)).clamp_min(0)
        count = self.shown
        if self.target is not None:
            left, count = left + self.strength * self.target, count + self.strength
        if self.spherical:
            left, count = left.sum(1, keepdim=True), count.sum(1, keepdim=True)
        noise = (left / count.clamp_min(1e-12)).clamp_min(FLOOR).expand_as(self.square)
        return Factored(loadings[:, :, -1].contiguous(), loadings[:, :, :-1].contiguous(), noise.contiguous())

    def penalty(self, normals: Factored) -> float:
        """Return the log prior of the components up to a constant, nats."""
        if self.target is None:
            return 0.0
        return float(-0.5 * self.strength * (normals.noise.log() + self.target / normals.noise).sum())


Statistics = DenseEM | FactoredEM


def _even_cut(mean: Tensor) -> float:
    r"""Return the variance of a standardised column when space is cut into `K` equal parts, \(K^{-2/d}\)."""
    k, d = mean.shape
    return k ** (-2 / d) if d else 1.0


def _held_up(cov: Tensor) -> Tensor:
    """Return covariances with no variance below `FLOOR`: a component of fewer records than columns is flat without a prior."""
    flat = torch.linalg.cholesky_ex(cov).info > 0
    if bool(flat.any()):
        values, vectors = torch.linalg.eigh(cov[flat])
        cov = cov.clone()
        cov[flat] = (vectors * values.clamp_min(FLOOR * 1e2)[:, None]) @ vectors.transpose(1, 2)
    return cov


def _others(columns: Tensor, d: int) -> Tensor:
    rest = torch.ones(d, dtype=torch.bool)
    rest[columns] = False
    return torch.nonzero(rest)[:, 0]
