r"""Annealed importance sampling: the log of an integral over latent vectors, by chains that are led from a normal law to the target.

A chain starts at \(z_0 \sim f_0 = N(m, s^2)\) and visits \(f_t \propto f_0^{1 - b_t} f^{b_t}\), \(0 = b_0 < \dots < b_T = 1\), by one
Hamiltonian step each. Then

$$w = \prod_t \left(\frac{f(z_{t-1})}{f_0(z_{t-1})}\right)^{b_t - b_{t-1}}, \qquad \mathbb{E}[w] = \int f(z)\, dz,$$

whatever \(m\), \(s\) and the step sizes are, so that \(\mathbb{E}[\log \frac1C \sum_c w_c]\) is a lower bound of the log integral.

References:
    Annealed Importance Sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008
    On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017), https://arxiv.org/abs/1611.04273
    MCMC using Hamiltonian dynamics (Neal, 2011), https://arxiv.org/abs/1206.1901
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..counting import counted

LEAPS = 3  # of one Hamiltonian step: more laws serve better than longer steps
GOAL, GAIN = 0.8, 0.1  # share of steps to accept, and how fast step sizes follow it
SLOPE = 4.0  # of the logistic function that spaces the powers: dense at both ends

Density = Callable[[Tensor], Tensor]
"""Maps latent vectors `(n, k, d)` to log densities `(n, k)`, nats, with gradients."""


@dataclass
class Start:
    """Independent normals, one set per record.

    Arguments:
        mean: `(n, d)`.
        sd: `(n, d)`.
    """

    mean: Tensor
    sd: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log densities `(n, k)` of `(n, k, d)`, nats."""
        away = (z - self.mean[:, None]) / self.sd[:, None]
        return -(0.5 * away.square() + torch.log(self.sd)[:, None] + 0.5 * math.log(2 * math.pi)).sum(-1)

    def slope(self, z: Tensor) -> Tensor:
        """Return the gradient of `log_prob`, `(n, k, d)`."""
        return (self.mean[:, None] - z) / self.sd.square()[:, None]


def annealed(
    target: Density, start: Start, widths: Tensor, *, steps: int, chains: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return latent vectors `(n, chains, d)` and their log weights `(n, chains)`, float64.

    The log of the weights' mean estimates the log of the target's integral, from below. A vector that is chosen in proportion to its
    weight is a draw from the target, the better the more chains there are.

    Step sizes are found for every record by one chain that is thrown away, and are fixed when those that count run: sizes
    that follow a chain's own course would spoil the bound.

    Arguments:
        target: Log density f, not normalised.
        start: Where chains begin.
        widths: `(n, d)` standard deviations of the target, about: the metric of the Hamiltonian steps.
        steps: Intermediate laws, T.
        chains: Chains per record.
        rng: Of all draws.

    Example:
        >>> start = Start(torch.zeros(1, 2), torch.ones(1, 2))
        >>> target = lambda z: start.log_prob(z) + 3.0
        >>> _, log_w = annealed(target, start, torch.ones(1, 2), steps=3, chains=2, rng=torch.Generator().manual_seed(0))
        >>> log_w.round(decimals=3)
        tensor([[3., 3.]], dtype=torch.float64)
    """
    n, d = start.mean.shape
    sizes = torch.full((steps, n, 1), 0.5 * d**-0.25)
    _, _, sizes = _chains(target, start, widths, sizes, 1, rng, follow=True)
    return _chains(target, start, widths, sizes, chains, rng, follow=False)[:2]


def powers(steps: int) -> Tensor:
    """Return `(steps + 1,)` rising from 0 to 1, dense at both ends.

    Example:
        >>> powers(2).tolist()
        [0.0, 0.5, 1.0]
    """
    s = torch.sigmoid(SLOPE * torch.linspace(-1, 1, steps + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def _chains(
    target: Density, start: Start, widths: Tensor, sizes: Tensor, count: int, rng: torch.Generator, *, follow: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run chains; return their last places `(n, count, d)`, log weights `(n, count)` and the step sizes `(steps, n, 1)` used."""
    n, d = start.mean.shape
    z = start.mean[:, None] + start.sd[:, None] * torch.randn(n, count, d, generator=rng)
    value, slope = _with_slope(target, z)
    log_w = torch.zeros(n, count, dtype=torch.float64)
    b, used = powers(len(sizes)), []
    size = sizes[0]
    laws = range(1, len(b))
    for t in laws if follow else counted(laws, len(b) - 2):
        size = size if follow else sizes[t - 1]
        used.append(size)
        log_w += (b[t] - b[t - 1]) * (value - start.log_prob(z)).double()
        if t == len(b) - 1:
            break  # the last law needs no visit
        share = float(b[t])
        width = ((1 - share) / start.sd.square() + share / widths.square()).rsqrt()[:, None]
        z, value, slope, accepted = _hamiltonian(target, start, share, size[..., None] * width, z, value, slope, rng)
        if follow:
            size = size * torch.exp(GAIN * (accepted.mean(1, keepdim=True) - GOAL))
    return z, log_w, torch.stack(used)


def _hamiltonian(
    target: Density,
    start: Start,
    share: float,
    step: Tensor,
    z: Tensor,
    value: Tensor,
    slope: Tensor,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Move chains by one Hamiltonian step under the law of power `share`.

    Arguments:
        target: Log density f.
        start: The law of power 0.
        share: Power b of the target.
        step: `(n, 1, d)` step per coordinate.
        z: `(n, k, d)` places.
        value: `(n, k)` log densities of f there.
        slope: `(n, k, d)` their gradients.
        rng: Of momenta and acceptance.

    Returns:
        places, log densities, gradients, and the probability `(n, k)` that the move was accepted with
    """

    def pull(z: Tensor, slope: Tensor) -> Tensor:
        return share * slope + (1 - share) * start.slope(z)

    def energy(z: Tensor, value: Tensor, p: Tensor) -> Tensor:
        return 0.5 * p.square().sum(-1) - share * value - (1 - share) * start.log_prob(z)

    p = torch.randn(z.shape, generator=rng)
    chance = torch.rand(value.shape, generator=rng)
    at, at_value, at_slope, q = z, value, slope, p
    for _ in range(LEAPS):
        q = q + 0.5 * step * pull(at, at_slope)
        at = at + step * q
        at_value, at_slope = _with_slope(target, at)
        q = q + 0.5 * step * pull(at, at_slope)
    gain = torch.nan_to_num(energy(z, value, p) - energy(at, at_value, q), nan=-math.inf)
    accepted = torch.exp(gain.clamp(max=0))
    move = chance < accepted
    moved = move[..., None]
    return torch.where(moved, at, z), torch.where(move, at_value, value), torch.where(moved, at_slope, slope), accepted


def _with_slope(target: Density, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log densities `(n, k)` and their gradients `(n, k, d)`."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = target(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope
