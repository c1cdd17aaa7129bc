"""Numbers: real ones, and levels on an integer lattice."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Group, two


class Real(Group):
    """Numbers: normal factors."""

    each = 2

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        return raw

    def harden(self, embedded: Tensor) -> Tensor:
        return embedded.clone()

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        mean, log_sd = two(params)
        z = (value.float() - mean) * torch.exp(-log_sd)
        return -0.5 * z.square() - log_sd - 0.5 * math.log(2 * math.pi)

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, log_sd = two(params)
        return mean + torch.exp(log_sd) * torch.randn(mean.shape, generator=generator, device=mean.device)

    def centre(self, params: Tensor) -> Tensor:
        return two(params)[0]


class Ordered(Group):
    """Levels on an integer lattice: discretised logistic factors, whose edge levels hold the tails where it is bounded."""

    each = 2

    def embed(self, value: Tensor) -> Tensor:
        return torch.nan_to_num(self._units(value))

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        """Squash numbers into the range of bounded lattices by tanh; leave those of open lattices as they are."""
        loc, scale = self._loc(raw.device), self._scale(raw.device)
        top = self._top(raw.device)
        # Finite stand-ins keep the unused branch free of infinities, whose gradients would be NaN.
        low = (self._bottom(raw.device).nan_to_num(neginf=0.0) - loc) / scale
        high = (top.nan_to_num(posinf=1.0) - loc) / scale
        return torch.where(torch.isfinite(top), (low + high) / 2 + (high - low) / 2 * torch.tanh(raw), raw)

    def harden(self, embedded: Tensor) -> Tensor:
        device = embedded.device
        levels = torch.round(embedded * self._scale(device) + self._loc(device))
        return torch.minimum(torch.maximum(levels, self._bottom(device)), self._top(device))

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        mean, log_scale = two(params)
        return self._mass(self._units(value) - mean, log_scale, value.float())

    def _units(self, value: Tensor) -> Tensor:
        """Return levels in units of the field's scale."""
        return (value.float() - self._loc(value.device)) / self._scale(value.device)

    def _mass(self, away: Tensor, log_scale: Tensor, level: Tensor) -> Tensor:
        """Return log probabilities of levels that lie `away` from the centres of their logistics."""
        # log(sig(a) - sig(b)) = log sig(a) + log sig(-b) + log(1 - exp(b - a)): exact where the difference underflows.
        inverse = torch.exp(-log_scale)
        half, middle = 0.5 / self._scale(level.device) * inverse, away * inverse
        below, above = F.logsigmoid(middle + half), F.logsigmoid(half - middle)
        lowest, highest = level <= self._bottom(level.device), level >= self._top(level.device)
        inner = below + above + torch.log(-torch.expm1(-2 * half))
        return torch.where(lowest, below, torch.where(highest, above, inner))

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, log_scale = two(params)
        return self.harden(mean + torch.exp(log_scale) * logistic(mean, generator))

    def centre(self, params: Tensor) -> Tensor:
        return self.harden(two(params)[0])

    def mixed(self, parts: int) -> Group:
        from .mixtures import OrderedMixture  # a mixture is made of these

        return self if parts == 1 else OrderedMixture(self.columns, self.fields, alone=self.alone, parts=parts)

    def _row(self, name: str, values: list[float], device: torch.device) -> Tensor:
        if (name, device) not in self._constants:
            same = len(set(values)) == 1  # an image: a scalar is faster than a row
            row = torch.tensor(values[0] if same else values, dtype=torch.float32, device=device)
            self._constants[name, device] = row
        return self._constants[name, device]

    def _loc(self, device: torch.device) -> Tensor:
        return self._row("loc", [f.loc for f in self.fields], device)

    def _scale(self, device: torch.device) -> Tensor:
        return self._row("scale", [f.scale for f in self.fields], device)

    def _top(self, device: torch.device) -> Tensor:
        return self._row("top", [f.levels - 1.0 if f.bounded else math.inf for f in self.fields], device)

    def _bottom(self, device: torch.device) -> Tensor:
        return self._row("bottom", [0.0 if f.bounded else -math.inf for f in self.fields], device)


def logistic(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard logistic numbers of the shape of `like`."""
    uniform = torch.rand(like.shape, generator=generator, device=like.device).clamp(1e-7, 1 - 1e-7)
    return torch.log(uniform) - torch.log1p(-uniform)
