r"""Laws over latent vectors: what a decoder's codes are drawn from. Each has `log_prob(z)` and `draw(n, rng)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .flows import Flow

LOG_2PI = math.log(2 * math.pi)
WIDEST = 5.0  # largest log standard deviation, either way


class NormalPrior(nn.Module):
    r"""\(N(0, I)\), without anything to learn."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log densities `(...)` of `(..., size)`, nats."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw `(n, size)`."""
        return torch.randn(n, self.size, generator=rng)


class MixturePrior(nn.Module):
    r"""\(\sum_k \pi_k N(z; \mu_k, \mathrm{diag}(\sigma_k^2))\).

    Arguments:
        size: Dimensions.
        parts: Number of components.
    """

    def __init__(self, size: int, parts: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(parts, size))
        self.log_sd = nn.Parameter(torch.zeros(parts, size))
        self.logits = nn.Parameter(torch.zeros(parts))

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights `(K,)`, means and log standard deviations `(K, size)`."""
        return self.logits.log_softmax(0), self.mean, self.log_sd.clamp(-WIDEST, WIDEST)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log densities `(...)` of `(..., size)`, nats."""
        return mixture_log_prob(z, *self.components())

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw `(n, size)`."""
        log_weights, mean, log_sd = self.components()
        which = torch.multinomial(log_weights.exp(), n, replacement=True, generator=rng)
        noise = torch.randn(n, mean.shape[1], generator=rng)
        return mean[which] + torch.exp(log_sd)[which] * noise


class VampPrior(MixturePrior):
    r"""\(\frac1K \sum_k q(z \mid u_k)\): a mixture of the encoder's posteriors at learned pseudo-records \(u_k\).

    Arguments:
        size: Dimensions of z.
        parts: Number of pseudo-records.
        width: Numbers that the encoder takes.
        encoder: Returns means and log standard deviations, `(n, 2 size)` at least.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), https://arxiv.org/abs/1705.07120
    """

    def __init__(self, size: int, parts: int, width: int, encoder: nn.Module) -> None:
        nn.Module.__init__(self)
        self.size = size
        self.records = nn.Parameter(0.5 * torch.randn(parts, width))
        self._encoder = (encoder,)  # in a tuple: its weights are saved once, by the model

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights `(K,)`, means and log standard deviations `(K, size)`."""
        out = self._encoder[0](self.records).float()
        log_weights = out.new_full((len(out),), -math.log(len(out)))
        return log_weights, out[:, : self.size], out[:, self.size : 2 * self.size].clamp(-WIDEST, WIDEST)


class FlowPrior(nn.Module):
    r"""\(N(f(z); 0, I)\, |\det f'(z)|\), with \(f\) a masked autoregressive flow: scored in one pass, drawn in `size` passes a layer.

    Arguments:
        size: Dimensions.
        layers: Transforms of the flow.
    """

    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        self.flow, self.base = Flow(size, layers), NormalPrior(size)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log densities `(...)` of `(..., size)`, nats."""
        u, log_det = self.flow(z)
        return self.base.log_prob(u) + log_det

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw `(n, size)`."""
        return self.flow.inverse(self.base.draw(n, rng))


Prior = NormalPrior | MixturePrior | FlowPrior


def mixture_log_prob(z: Tensor, log_weights: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """Return log densities `(...)` of `(..., d)` under a mixture of diagonal normals, by matrix products.

    Example:
        >>> one = (torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 2))
        >>> torch.allclose(mixture_log_prob(torch.zeros(3, 2), *one), torch.tensor(-LOG_2PI))
        True
    """
    # Differences of squares cancel: float64, which autocast leaves alone.
    z, mean, inverse = z.double(), mean.double(), torch.exp(-2 * log_sd.double())
    distance = z.square() @ inverse.T - 2 * z @ (mean * inverse).T + (mean.square() * inverse).sum(1)
    each = log_weights - 0.5 * (distance + LOG_2PI * mean.shape[1]) - log_sd.sum(1)
    return torch.logsumexp(each, -1).float()
