"""Levels without order: two of them, or many."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .base import Group

BLOCK = 2**17  # bits whose likelihood is computed at a time
SURE = -25.0  # a logit with exp(SURE) = 1e-11: exponentials far below it are denormal numbers, with which CPUs are many times slower


class _Nats(torch.autograd.Function):
    """Sums over rows of Bernoulli log probabilities, a block of rows at a time: it stays in the cache, and nothing of it is kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor) -> Tensor:
        """Return `(n,)` nats of `(n, d)` bits."""
        ctx.save_for_backward(logits, value)
        parts = zip(logits.split(_rows(logits)), value.split(_rows(logits)), strict=True)
        return torch.cat([_log_prob(a.float(), x.float()).sum(1) for a, x in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, value = ctx.saved_tensors
        slope, rows = torch.empty_like(logits), _rows(logits)
        parts = zip(slope.split(rows), logits.split(rows), value.split(rows), grad.split(rows), strict=True)
        for to, a, x, g in parts:
            to.copy_(torch.sigmoid(a.float().clamp(min=SURE)).neg_().add_(x).mul_(g[:, None]))
        return slope, None


def _rows(logits: Tensor) -> int:
    return max(1, BLOCK // logits.shape[1])


def _log_prob(logits: Tensor, value: Tensor) -> Tensor:
    return value * logits - F.softplus(F.threshold(logits, SURE, SURE))


class Binary(Group):
    """Zeros and ones: Bernoulli factors."""

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        return torch.sigmoid(raw)

    def harden(self, embedded: Tensor) -> Tensor:
        return embedded > 0.5

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        return _log_prob(params.float(), value.float())

    def nats(self, params: Tensor, value: Tensor) -> Tensor:
        return super().nats(params, value) if value.is_floating_point() else _Nats.apply(params, value)  # type: ignore[no-any-return]

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        p = torch.sigmoid(params.float())
        return torch.rand(p.shape, generator=generator, device=p.device) < p

    def centre(self, params: Tensor) -> Tensor:
        return params > 0


class Category(Group):
    """Levels without order: softmax factors."""

    def _widths(self) -> list[int]:
        return [f.levels for f in self.fields]

    def embed(self, value: Tensor) -> Tensor:
        owner = [j for j, levels in enumerate(self.widths) for _ in range(levels)]
        level = [k for levels in self.widths for k in range(levels)]
        repeated = value.index_select(1, self._index("owner", owner, value.device))
        return (repeated == self._index("level", level, value.device)).float()  # NaN equals no level: a zero vector

    def relax(self, raw: Tensor, noise: Tensor | None, tau: float) -> Tensor:
        logits = raw if noise is None else raw + gumbel(noise)
        return torch.cat([torch.softmax(column / tau, 1) for column in logits.split(self.widths, 1)], 1)

    def harden(self, embedded: Tensor) -> Tensor:
        return torch.stack([column.argmax(1) for column in embedded.split(self.widths, 1)], 1)

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        logs = [torch.log_softmax(column, 1) for column in params.float().split(self.widths, 1)]
        return torch.cat([log.gather(1, value[:, j : j + 1].long()) for j, log in enumerate(logs)], 1)

    def draw(self, params: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.rand(params.shape, generator=generator, device=params.device)
        return self.harden(params.float() + gumbel(noise))

    def centre(self, params: Tensor) -> Tensor:
        return self.harden(params)

    def without_absent(self, params: Tensor) -> Tensor:
        absent = [k == f.absent for f in self.fields for k in range(f.levels)]
        return params.masked_fill(self._index("absent", absent, params.device), -math.inf)


def gumbel(uniform: Tensor) -> Tensor:
    """Turn uniform (0, 1) numbers into Gumbel ones."""
    return -torch.log(-torch.log(uniform.clamp(1e-10, 1 - 1e-7)))
