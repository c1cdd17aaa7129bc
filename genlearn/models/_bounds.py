r"""Pieces of variational objectives: divergences between posteriors, priors and all codes together, in nats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..nn import Flow
from ..nn.priors import LOG_2PI

MANY = 2**17  # values over which the luck of one draw evens out


@dataclass
class Posterior:
    r"""\(q(z \mid x)\) of a batch: \(z = f(\mu + \sigma \epsilon)\), with f the identity or a flow that sees the record.

    Arguments:
        mean: `(n, d)`.
        log_sd: `(n, d)`.
        bend: The flow f; None for the identity.
        context: `(n, c)` of what the flow sees.
    """

    mean: Tensor
    log_sd: Tensor
    bend: Flow | None = None
    context: Tensor | None = None

    def draw(self, eps: Tensor) -> Tensor:
        """Return draws `(n, k, d)` from noise `(n, k, d)`."""
        z = self.mean[:, None] + torch.exp(self.log_sd)[:, None] * eps
        return z if self.bend is None else self._bent(z)[0]

    def scored(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return draws `(n, k, d)` from noise `(n, k, d)`, and their log densities `(n, k)`, nats."""
        log_sd = self.log_sd[:, None]
        z = self.mean[:, None] + torch.exp(log_sd) * eps
        log_q = -(0.5 * eps.square() + log_sd + 0.5 * LOG_2PI).sum(-1)
        if self.bend is None:
            return z, log_q
        z, log_det = self._bent(z)
        return z, log_q - log_det

    def _bent(self, z: Tensor) -> tuple[Tensor, Tensor]:
        assert self.bend is not None
        assert self.context is not None
        return self.bend(z, self.context[:, None].expand(-1, z.shape[1], -1))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log densities `(n, k)` of `(n, k, d)` where there is no flow, nats."""
        eps = (z - self.mean[:, None]) * torch.exp(-self.log_sd)[:, None]
        return -(0.5 * eps.square() + self.log_sd[:, None] + 0.5 * LOG_2PI).sum(-1)


class RecordNoise:
    """Standard normal noise for importance samples that depends on a generator and on each record's contents only.

    Every record shifts the same uniform numbers, modulo 1, by its own contents: errors of different records are independent and
    average out in `score`, while a record's number does not depend on its company.

    Arguments:
        samples: Draws per record.
        latents: Numbers in a draw.
        values: Values in a record.
        rng: Where the uniform numbers come from.
    """

    def __init__(self, samples: int, latents: int, values: int, rng: torch.Generator) -> None:
        self._uniform = torch.rand(samples, latents, generator=rng)
        self._mixer = 1e3 * torch.randn(values, latents, generator=rng, dtype=torch.float64)

    def of(self, x: Tensor) -> Iterator[Tensor]:
        """Yield noise `(n, latents)` for records `(n, values)`, one draw after the other."""
        shift = (torch.nan_to_num(x.double()) @ self._mixer).remainder(1.0).float()
        for uniform in self._uniform:
            yield torch.special.ndtri((uniform + shift).remainder(1.0).clamp(1e-7, 1 - 1e-7))


def enough(draws: int, few: int, values: int) -> int:
    """Return how many draws of z a validation of so many values takes: at least `few`, but where the values are many.

    Example:
        >>> enough(1, 4, 180 * 64), enough(1, 4, 600 * 784), enough(5, 4, 600 * 784)
        (4, 1, 5)
    """
    return max(draws, few if values < MANY else 1)


def total_correlation(z: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    r"""Return the mean of \(\log q(z) - \sum_j \log q(z_j)\), with \(q(z)\) the mixture of the batch's posteriors, nats.

    Arguments:
        z: `(n, latent)`, a draw for each record.
        mean: `(n, latent)` of the posteriors.
        log_sd: `(n, latent)` of the posteriors.
    """
    away = (z[:, None] - mean) * torch.exp(-log_sd)
    each = -0.5 * away.square() - log_sd - 0.5 * math.log(2 * math.pi)  # (n, n, latent): draw i under posterior j
    apart = math.log(len(z))
    joint = torch.logsumexp(each.sum(2), 1) - apart
    return (joint - (torch.logsumexp(each, 1) - apart).sum(1)).mean()


def discrepancy(a: Tensor, b: Tensor) -> Tensor:
    r"""Return the squared maximum mean discrepancy of two samples `(n, d)` under \(\exp(-|u - v|^2 / d)\), unbiased.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012), https://jmlr.org/papers/v13/gretton12a.html
    """
    n, d = a.shape
    if n < 2:
        return a.new_zeros(()) * a.sum()

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(u, v).square() / d)

    within = (kernel(a, a).sum() + kernel(b, b).sum() - 2 * n) / (n * (n - 1))
    return within - 2 * kernel(a, b).mean()


def gaussian_kl(mean: Tensor, log_sd: Tensor) -> Tensor:
    r"""Return \(\mathrm{KL}(N(\mu, \sigma^2) \,\|\, N(0, 1)) = \frac12(\mu^2 + \sigma^2 - 1) - \log\sigma\), nats, elementwise.

    Example:
        >>> float(gaussian_kl(torch.ones(1), torch.zeros(1)))
        0.5
    """
    return 0.5 * (mean.square() + torch.exp(2 * log_sd) - 1) - log_sd
