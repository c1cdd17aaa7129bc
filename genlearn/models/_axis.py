"""Normal distributions cut into cells: what each cell holds, and its moments, exact far out in the tails."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ._levels import Levels

SMALLEST = 1e-30  # probability of a level, at least
FAR = 1e-20  # mass of a cell below which moments in it are lost to rounding


class Axis:
    """The cells of numbers on the axis of normal scores.

    Arguments:
        at: `(p,)` their rows in the tables.
        owner: `(p,)` the number, 0..d-1, that each belongs to.
        low, high: `(p,)` normal scores of the edges, infinite at the ends.
        d: How many numbers.
    """

    def __init__(self, at: Tensor, owner: Tensor, low: Tensor, high: Tensor, d: int) -> None:
        self.at, self.owner, self.low, self.high, self.d = at, owner, low, high, d
        middle = 0.5 * (torch.special.ndtr(low) + torch.special.ndtr(high))
        self.typical = torch.special.ndtri(middle).clamp(-8, 8)

    @classmethod
    def of(cls, levels: Levels, columns: Sequence[int], edges: Sequence[Tensor]) -> Axis:
        """Build from the code columns of numbers and the inner edges of their cells."""
        first = [int(levels.start[levels.columns.index(j)]) for j in columns]
        ends = [pad(pad(e, (1, 0), value=-torch.inf), (0, 1), value=torch.inf) for e in edges]
        none = torch.zeros(0, dtype=torch.float64)
        at = [torch.arange(s, s + len(e) - 1) for s, e in zip(first, ends, strict=True)]
        owner = [torch.full((len(e) - 1,), i) for i, e in enumerate(ends)]
        return cls(
            torch.cat([none.long(), *at]), torch.cat([none.long(), *owner]), torch.cat([none, *(e[:-1] for e in ends)]),
            torch.cat([none, *(e[1:] for e in ends)]), len(ends),
        )  # fmt: skip

    def masses(self, mean: Tensor, sd: Tensor) -> Tensor:
        """Return probabilities `(p, K)` of the cells under normal distributions, `(d, K)` means and deviations."""
        a, b = self._standard(mean, sd)
        flip = a > 0  # the side where tails are small keeps its digits
        below, above = torch.where(flip, -b, a), torch.where(flip, -a, b)
        return (_below(above) - _below(below)).clamp_min(SMALLEST)

    def moments(self, mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and mean square `(p, K)`, about the component's mean, of the scores in every cell."""
        a, b = self._standard(mean, sd)
        mass, scale = self.masses(mean, sd), sd[self.owner]
        height_a, height_b = _height(a), _height(b)
        first = torch.minimum(torch.maximum((height_a - height_b) / mass, a), b)
        second = 1 + (_finite(a) * height_a - _finite(b) * height_b) / mass
        # Where rounding eats the mass, the bounds still hold: squares lie between that of the mean and those of the edges.
        second = torch.where(mass < FAR, first.square(), torch.maximum(second, first.square()))
        second = torch.minimum(second, torch.maximum(a.square(), b.square()))
        return first * scale, second * scale.square()

    def sums(self, values: Tensor) -> Tensor:
        """Return `(d, K)` sums of `(p, K)` values per number."""
        return torch.zeros(self.d, values.shape[1], dtype=values.dtype).index_add_(0, self.owner, values)

    def _standard(self, mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
        scale, centre = sd[self.owner], mean[self.owner]
        return (self.low[:, None] - centre) / scale, (self.high[:, None] - centre) / scale


def _below(z: Tensor) -> Tensor:
    """Return the normal distribution function, exact in the lower tail, where `torch.special.ndtr` is not."""
    return 0.5 * torch.special.erfc(-z / math.sqrt(2))


def _height(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def _finite(z: Tensor) -> Tensor:
    return torch.nan_to_num(z, posinf=0.0, neginf=0.0)
