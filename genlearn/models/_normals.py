r"""Components of a Gaussian mixture: their densities, marginals, conditionals and draws, for two shapes of covariance.

`Dense` holds a matrix per component. `Factored` holds \(\Sigma_k = W_k W_k^\top + \mathrm{diag}(\psi_k)\) with \(W_k\) of `(d, q)`:
diagonal and spherical components are the case q = 0. Both answer the same questions for any subset of the columns, so that a
missing value is left out of a score exactly and an unknown one is drawn exactly.
"""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
PAIRS = 128  # up to this many columns all products of pairs in one matrix product beat one product per component


class Dense:
    """`K` normal distributions with full covariance matrices.

    Arguments:
        mean: `(K, d)`.
        cov: `(K, d, d)`, positive definite.
    """

    def __init__(self, mean: Tensor, cov: Tensor) -> None:
        self.mean, self.cov = mean, cov

    @cached_property
    def _whiten(self) -> tuple[Tensor, Tensor]:
        """Inverse Cholesky factors `(K, d, d)` and log determinants `(K,)` of the covariances."""
        lower = torch.linalg.cholesky(self.cov)
        eye = torch.eye(self.mean.shape[1], dtype=lower.dtype, device=lower.device).expand_as(lower)
        log_det = 2 * lower.diagonal(dim1=1, dim2=2).log().sum(1)
        return torch.linalg.solve_triangular(lower, eye, upper=False), log_det

    def at(self, columns: Tensor) -> Dense:
        """Return the marginal distributions of some columns (in increasing order)."""
        if len(columns) == self.mean.shape[1]:
            return self
        return Dense(self.mean[:, columns], self.cov[:, columns][:, :, columns])

    def of(self, components: Tensor) -> Dense:
        """Return some of the components."""
        if len(components) == len(self.mean):
            return self
        return Dense(self.mean[components], self.cov[components])

    def log_prob(self, x: Tensor) -> Tensor:
        """Return `(n, K)` log densities of complete rows `(n, d)`, by one matrix product per component."""
        whiten, log_det = (t.to(x.dtype) for t in self._whiten)
        out = x.new_empty(len(x), len(self.mean))
        for k, (mean, w) in enumerate(zip(self.mean.to(x.dtype), whiten, strict=True)):
            out[:, k] = ((x - mean) @ w.T).square().sum(1)
        return -0.5 * (out + log_det + x.shape[1] * LOG_2PI)

    @cached_property
    def precision(self) -> Tensor:
        """Inverses of the covariances, `(K, d, d)`."""
        whiten, _ = self._whiten
        return whiten.transpose(1, 2) @ whiten

    def quadratic(self) -> Tensor:
        r"""Return `(p, K)` weights with \(\log N(x; \mu_k, \Sigma_k) = \phi(x)^\top w_k\), where \(\phi\) is `features`."""
        (_, log_det), precision = self._whiten, self.precision
        d = self.mean.shape[1]
        i, j = torch.triu_indices(d, d, device=self.mean.device)
        linear = (precision @ self.mean[:, :, None])[:, :, 0]
        const = -0.5 * ((linear * self.mean).sum(1) + log_det + d * LOG_2PI)
        pairs = precision[:, i, j] * torch.where(i == j, -0.5, -1.0)
        return torch.cat([pairs, linear, const[:, None]], 1).T.contiguous()

    def regression(self, known: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return slope `(K, u, o)`, intercept `(K, u)` and covariance `(K, u, u)` of the rest given the known columns.

        \(E[x_u \mid x_o] = \mu_u + \Sigma_{uo} \Sigma_{oo}^{-1} (x_o - \mu_o)\).
        """
        cross = self.cov[:, rest][:, :, known]
        if len(known) == 0:
            return cross, self.mean[:, rest], self.cov[:, rest][:, :, rest]
        slope = torch.cholesky_solve(cross.transpose(1, 2), torch.linalg.cholesky(self.at(known).cov)).transpose(1, 2)
        intercept = self.mean[:, rest] - (slope @ self.mean[:, known, None])[:, :, 0]
        return slope, intercept, self.cov[:, rest][:, :, rest] - slope @ cross.transpose(1, 2)

    def expect(self, x: Tensor, known: Tensor, rest: Tensor) -> Tensor:
        """Return `(n, K, u)` means of the rest, given known values `(n, o)`, under every component."""
        slope, intercept, _ = self.regression(known, rest)
        return intercept + torch.einsum("no,kuo->nku", x, slope)

    def draw(self, which: Tensor, x: Tensor, known: Tensor, rest: Tensor, rng: torch.Generator) -> Tensor:
        """Draw the rest `(n, u)` given known values `(n, o)` and the component `which` of every row."""
        slope, intercept, cov = self.regression(known, rest)
        noise = torch.randn(len(which), len(rest), dtype=self.mean.dtype, generator=rng)
        out = torch.empty_like(noise)
        for k in torch.unique(which):
            rows = which == k
            out[rows] = intercept[k] + x[rows] @ slope[k].T + noise[rows] @ _root(cov[k]).T
        return out

    def single(self, x: Tensor, known: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation `(n, K)` of one column given known values `(n, o)`."""
        rest = torch.tensor([column])
        sd = self.regression(known, rest)[2][:, 0, 0].clamp_min(0).sqrt()
        return self.expect(x, known, rest)[:, :, 0], sd.expand(len(x), -1)


class Factored:
    r"""`K` normal distributions with covariances \(W W^\top + \mathrm{diag}(\psi)\).

    Arguments:
        mean: `(K, d)`.
        factors: \(W\), `(K, d, q)`; q = 0 is a diagonal covariance.
        noise: \(\psi\), `(K, d)`, positive.

    References:
        The EM Algorithm for Mixtures of Factor Analyzers (Ghahramani & Hinton, 1997), https://mlg.eng.cam.ac.uk/zoubin/papers/tr-96-1.pdf
    """

    def __init__(self, mean: Tensor, factors: Tensor, noise: Tensor) -> None:
        self.mean, self.factors, self.noise = mean, factors, noise

    @property
    def rank(self) -> int:
        """Number of factors q."""
        return self.factors.shape[2]

    def at(self, columns: Tensor) -> Factored:
        """Return the marginal distributions of some columns (in increasing order)."""
        if len(columns) == self.mean.shape[1]:
            return self
        return Factored(self.mean[:, columns], self.factors[:, columns], self.noise[:, columns])

    @cached_property
    def _lower(self) -> Tensor:
        r"""Cholesky factor of the latent precision \(I + W^\top \Psi^{-1} W\), `(K, q, q)`."""
        inner = self.factors.transpose(1, 2) @ (self.factors / self.noise[:, :, None])
        return torch.linalg.cholesky(inner + torch.eye(self.rank, dtype=inner.dtype))

    @cached_property
    def latent_cov(self) -> Tensor:
        """Posterior covariance of the latent factors, `(K, q, q)`: the same for every row."""
        return torch.cholesky_inverse(self._lower) if self.rank else self._lower

    @cached_property
    def _projection(self) -> tuple[Tensor, Tensor]:
        r"""\(\Psi^{-1} W\) of all components side by side `(d, Kq)`, and its product with the means `(K, q)`."""
        scaled = self.factors / self.noise[:, :, None]
        at_mean = (scaled.transpose(1, 2) @ self.mean[:, :, None])[:, :, 0]
        return scaled.permute(1, 0, 2).flatten(1).contiguous(), at_mean

    def project(self, x: Tensor) -> Tensor:
        r"""Return \(W^\top \Psi^{-1} (x - \mu)\) under every component, `(K, n, q)`."""
        sides, at_mean = self._projection
        flat = (x @ sides).view(len(x), len(self.mean), self.rank)
        return flat.transpose(0, 1) - at_mean[:, None]

    def log_prob(self, x: Tensor, projected: Tensor | None = None) -> Tensor:
        """Return `(n, K)` log densities of complete rows `(n, d)`: matrix products over all components at once."""
        inverse = 1 / self.noise
        distance = x.square() @ inverse.T - 2 * (x @ (self.mean * inverse).T) + (self.mean.square() * inverse).sum(1)
        log_det = self.noise.log().sum(1)
        if self.rank:
            projected = self.project(x) if projected is None else projected
            inner = torch.linalg.solve_triangular(self._lower, projected.transpose(1, 2), upper=False)
            distance = distance - inner.square().sum(1).T
            log_det = log_det + 2 * self._lower.diagonal(dim1=1, dim2=2).log().sum(1)
        return -0.5 * (distance + log_det + x.shape[1] * LOG_2PI)

    def diagonal(self) -> Tensor:
        r"""Return `(2d + 1, K)` weights with \(\log N(x; \mu_k, \Psi_k) = \phi(x)^\top w_k\), where \(\phi\) is `squares`."""
        inverse = 1 / self.noise
        const = -0.5 * ((self.mean.square() * inverse).sum(1) + self.noise.log().sum(1) + self.mean.shape[1] * LOG_2PI)
        return torch.cat([-0.5 * inverse, self.mean * inverse, const[:, None]], 1).T.contiguous()

    def latents(self, x: Tensor, projected: Tensor | None = None) -> Tensor:
        """Return posterior means of the latent factors under every component, `(K, n, q)`."""
        return (self.project(x) if projected is None else projected) @ self.latent_cov

    def expect(self, x: Tensor, known: Tensor, rest: Tensor) -> Tensor:
        """Return `(n, K, u)` means of the rest, given known values `(n, o)`, under every component."""
        z = self.at(known).latents(x)
        return self.mean[:, rest] + (z @ self.factors[:, rest].transpose(1, 2)).transpose(0, 1)

    def draw(self, which: Tensor, x: Tensor, known: Tensor, rest: Tensor, rng: torch.Generator) -> Tensor:
        """Draw the rest `(n, u)` given known values `(n, o)` and the component `which` of every row."""
        part = self.at(known)
        n, dtype = len(which), self.mean.dtype
        latent = torch.randn(n, self.rank, dtype=dtype, generator=rng)
        noise = torch.randn(n, len(rest), dtype=dtype, generator=rng)
        out = torch.empty_like(noise)
        for k in torch.unique(which):
            rows, one = which == k, part._one(k)
            z = one.latents(x[rows])[0] + latent[rows] @ _root(one.latent_cov[0]).T
            out[rows] = self.mean[k, rest] + z @ self.factors[k, rest].T + noise[rows] * self.noise[k, rest].sqrt()
        return out

    def single(self, x: Tensor, known: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation `(n, K)` of one column given known values `(n, o)`."""
        w = self.factors[:, column]
        var = self.noise[:, column] + torch.einsum("kq,kqr,kr->k", w, self.at(known).latent_cov, w)
        return self.expect(x, known, torch.tensor([column]))[:, :, 0], var.sqrt().expand(len(x), -1)

    def _one(self, k: Tensor) -> Factored:
        return Factored(self.mean[k][None], self.factors[k][None], self.noise[k][None])


Normals = Dense | Factored


def features(x: Tensor) -> Tensor:
    """Return all products of pairs of columns, the columns and 1, `(d(d+1)/2 + d + 1, n)`: see `Dense.quadratic`."""
    n, d = x.shape
    pairs = d * (d + 1) // 2
    out = x.new_empty(pairs + d + 1, n)
    out[pairs:-1], out[-1] = x.T, 1
    rows, start = out[pairs:-1], 0
    for i in range(d):
        torch.mul(rows[i], rows[i:], out=out[start : start + d - i])
        start += d - i
    return out


def squares(x: Tensor) -> Tensor:
    """Return the squares of columns, the columns and 1, `(2d + 1, n)`: see `Factored.diagonal`."""
    n, d = x.shape
    out = x.new_empty(2 * d + 1, n)
    out[d : 2 * d], out[-1] = x.T, 1
    torch.mul(out[d : 2 * d], out[d : 2 * d], out=out[:d])
    return out


def _root(cov: Tensor) -> Tensor:
    """Return a square root of a covariance that may be singular (a value that the known ones fix)."""
    if len(cov) == 0:
        return cov
    values, vectors = torch.linalg.eigh(cov)
    return vectors * values.clamp_min(0).sqrt()


def patterns(present: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return `(columns, rows)` of every distinct row of a mask `(n, d)`: the columns it shows, the rows that show them."""
    if bool(present.all()):
        return [(torch.arange(present.shape[1]), torch.arange(len(present)))]
    kinds, inverse = torch.unique(present, dim=0, return_inverse=True)
    order = torch.argsort(inverse, stable=True)
    counts = torch.bincount(inverse, minlength=len(kinds)).tolist()
    return [(torch.nonzero(m)[:, 0], rows) for m, rows in zip(kinds, order.split(counts), strict=True)]


def standard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every column, NaN left out; 1 where nothing varies."""
    present = ~torch.isnan(x)
    n = present.sum(0).clamp_min(1)
    centre = torch.nan_to_num(x).sum(0) / n
    sd = (torch.nan_to_num(x - centre).square().sum(0) / n).sqrt()
    return centre, torch.where(sd > 1e-9 * (1 + centre.abs()), sd, 1.0)


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return the log probability that a standard normal lies between two bounds, exact far out in the tails."""
    low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)
    above = torch.special.log_ndtr(high)
    return above + torch.log1p(-torch.exp(torch.special.log_ndtr(low) - above))


def truncated(low: Tensor, high: Tensor, rng: torch.Generator) -> Tensor:
    """Draw standard normals that lie between two bounds."""
    return truncated_quantile(low, high, torch.rand(low.shape, dtype=low.dtype, generator=rng))


def truncated_quantile(low: Tensor, high: Tensor, u: Tensor) -> Tensor:
    """Return quantiles of standard normals between two bounds, by inversion on the side where the tail is small."""
    flip = low > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    above = torch.special.log_ndtr(high)
    log_p = above + torch.log(u + (1 - u) * torch.exp(torch.special.log_ndtr(low) - above))
    z = torch.special.ndtri(log_p.exp())
    z = torch.where(torch.isfinite(z), z, -(-2 * log_p).clamp_min(0).sqrt())
    for _ in range(4):  # Newton on log Phi, which is concave: exact where Phi itself underflows
        log_cdf = torch.special.log_ndtr(z)
        z = z - (log_cdf - log_p) * torch.exp(log_cdf + 0.5 * z.square() + 0.5 * LOG_2PI).clamp_max(1e3)
    z = torch.minimum(torch.maximum(z, low), high)
    return torch.where(flip, -z, z)
