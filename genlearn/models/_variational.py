r"""Variational Bayes for a Gaussian mixture: a distribution over weights, components and level tables in place of points.

The posterior is approached by \(q(z)\, q(\pi) \prod_k q(\mu_k, \Lambda_k)\, q(T_k)\): Dirichlet weights and tables, normal-Wishart
components. The expected log joint of a record has the form of a Gaussian mixture with other weights, so that a pass over the
records is a pass of EM; what it climbs is the evidence lower bound
\(\sum_n \log \sum_k \exp E[\log p(x_n, k)] - \mathrm{KL}(q \,\|\, p)\), which never falls, also where numbers are missing.

References:
    Pattern Recognition and Machine Learning, section 10.2 (Bishop, 2006), https://www.microsoft.com/en-us/research/people/cmbishop/prml-book/
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._em import DenseEM
from ._mixture import Fitter, Mixture
from ._normals import Dense


@dataclass
class NormalWishart:
    r"""Distributions over means and precisions, \(N(\mu; m, (\beta \Lambda)^{-1})\, W(\Lambda; V, \nu)\).

    Arguments:
        mean: \(m\), `(K, d)`.
        beta: \(\beta\), `(K,)`.
        scatter: \(V^{-1}\), `(K, d, d)`.
        dof: \(\nu\), `(K,)`.
    """

    mean: Tensor
    beta: Tensor
    scatter: Tensor
    dof: Tensor

    @property
    def normals(self) -> Dense:
        r"""Normal distributions with mean \(m\) and precision \(E[\Lambda] = \nu V\)."""
        return Dense(self.mean, self.scatter / self.dof[:, None, None])

    @property
    def expected_log_det(self) -> Tensor:
        r"""Return \(E[\log |\Lambda|]\), `(K,)`."""
        d = self.mean.shape[1]
        return _digammas(self.dof / 2, d) + d * math.log(2) - torch.logdet(self.scatter)

    def offset(self) -> Tensor:
        r"""Return \(E[\log N(x; \mu, \Lambda^{-1})] - \log N(x; m, (\nu V)^{-1})\), the same for every x, `(K,)`."""
        d = self.mean.shape[1]
        plain = d * self.dof.log() - torch.logdet(self.scatter)
        return 0.5 * (self.expected_log_det - plain - d / self.beta)

    def divergence(self, prior: NormalWishart) -> Tensor:
        """Return the Kullback-Leibler divergence from a prior, `(K,)` nats."""
        d, nu, nu0 = self.mean.shape[1], self.dof, prior.dof
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.scatter))
        away = self.mean - prior.mean
        distance = torch.einsum("ki,kij,kj->k", away, inverse, away)
        ratio = prior.beta / self.beta
        of_mean = 0.5 * (d * (ratio - 1 - ratio.log()) + prior.beta * nu * distance)
        trace = (inverse * prior.scatter).sum((1, 2))
        of_precision = (
            0.5 * nu0 * (torch.logdet(self.scatter) - torch.logdet(prior.scatter))
            + 0.5 * nu * (trace - d)
            + torch.special.multigammaln(nu0 / 2, d) - torch.special.multigammaln(nu / 2, d)
            + 0.5 * (nu - nu0) * _digammas(nu / 2, d)
        ) if d else torch.zeros_like(nu)  # fmt: skip
        return of_mean + of_precision


@dataclass
class Posterior(Mixture):
    r"""What is believed of a mixture; as a `Mixture` it gives \(\exp E[\log p(x, k)]\), which falls short of a density.

    Arguments:
        chances: Dirichlet counts of the weights, `(K,)`.
        counts: Dirichlet counts of the level tables, `(K, width)`.
        components: Beliefs about the components.
        mean: The mixture of the posterior means (of weights, tables, means and precisions).
    """

    chances: Tensor
    counts: Tensor
    components: NormalWishart
    mean: Mixture

    @property
    def point(self) -> Mixture:
        """The mixture that stands for the beliefs."""
        return self.mean


@dataclass
class Bayes(Fitter):
    """The loop of variational Bayes: that of EM, with beliefs in place of points.

    Arguments:
        concentration: Dirichlet count of every weight; small ones empty components that are not needed.
    """

    plants: ClassVar[bool] = False  # an empty component is what the prior wants

    concentration: float = 1.0

    def maximise(self, weights: Tensor, counts: Tensor) -> Mixture:
        """Return the beliefs that the sums of a pass give; the plain maximum while there is no prior yet."""
        em = self.statistics
        assert isinstance(em, DenseEM)
        if em.target is None:
            return super().maximise(weights, counts)
        prior = self.prior(len(weights))
        beta, dof = prior.beta + em.total, prior.dof + em.total
        mean = em.first / beta[:, None]
        scatter = prior.scatter + em.second - beta[:, None, None] * mean[:, :, None] * mean[:, None]
        components = NormalWishart(mean, beta, 0.5 * (scatter + scatter.transpose(1, 2)), dof)
        return self.believed(weights + self.concentration, counts + self.smoothing * self.base, components)

    def believed(self, chances: Tensor, counts: Tensor, components: NormalWishart) -> Posterior:
        """Return beliefs as a mixture."""
        levels = self.rows.levels
        tables = levels.share(counts) if levels.width else counts
        share = (chances.digamma() - chances.sum().digamma() + components.offset()).exp()
        expected = (
            (counts.digamma() - levels.total(counts).digamma()[:, levels.owner]).exp() if levels.width else counts
        )
        mean = Mixture(chances / chances.sum(), components.normals, tables)
        return Posterior(share, mean.normals, expected, chances, counts, components, mean)

    def prior(self, k: int) -> NormalWishart:
        """Return what is believed of every component before: one record at the centre, covariance as the prior of EM has it."""
        em = self.statistics
        assert isinstance(em, DenseEM)
        assert em.target is not None
        d = len(em.target)
        dof = max(float(d), em.strength)
        one = torch.ones(k, dtype=torch.float64)
        return NormalWishart(torch.zeros(k, d, dtype=torch.float64), one, (dof * em.target).expand(k, d, d), dof * one)

    def objective(self, nats: float, mixture: Mixture) -> float:
        """Return the evidence lower bound, nats per record."""
        if not isinstance(mixture, Posterior):
            return -math.inf
        k, levels = len(mixture), self.rows.levels
        cost = mixture.components.divergence(self.prior(k)).sum()
        cost += _dirichlet(mixture.chances[None], torch.full((1, k), self.concentration, dtype=torch.float64)).sum()
        for i, size in enumerate(levels.counts):
            span = slice(int(levels.start[i]), int(levels.start[i]) + size)
            cost += _dirichlet(mixture.counts[:, span], (self.smoothing * self.base[span]).expand(k, size)).sum()
        return nats - float(cost) / self.rows.mass


def _dirichlet(a: Tensor, b: Tensor) -> Tensor:
    """Return the divergence of Dirichlet distributions with counts `a` from those with counts `b`, by rows."""
    total = a.sum(1)
    log_norm = torch.lgamma(total) - torch.lgamma(b.sum(1)) - (torch.lgamma(a) - torch.lgamma(b)).sum(1)
    return log_norm + ((a - b) * (a.digamma() - total.digamma()[:, None])).sum(1)


def _digammas(a: Tensor, d: int) -> Tensor:
    """Return the sum of digamma(a - j / 2) for j < d."""
    return torch.digamma(a[:, None] - 0.5 * torch.arange(d, dtype=a.dtype)).sum(1)
