"""Product kernels around records, for numbers and levels side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ._levels import Levels
from ._normals import LOG_2PI

CELLS = 4_000_000  # kernel values held at once


class Kernels:
    """Product kernels around centres.

    Arguments:
        numbers: `(m, d)` standardised numbers of the centres, NaN where a centre has none.
        levels: What the discrete columns are.
        discrete: `(m, c)` levels of the centres.
    """

    def __init__(self, numbers: Tensor, levels: Levels, discrete: Tensor) -> None:
        self.levels, self.dtype = levels, numbers.dtype
        self.discrete = discrete
        self.counts = torch.tensor(levels.counts, dtype=torch.float64)[levels.owner]
        self.lacks = torch.isnan(numbers).to(numbers.dtype)
        self.numbers = torch.nan_to_num(numbers)

    def around(self, which: Tensor) -> Kernels:
        """Return the kernels around some of the centres."""
        numbers = self.numbers[which].masked_fill(self.lacks[which] > 0, torch.nan)
        return Kernels(numbers, self.levels, self.discrete[which])

    @cached_property
    def one_hot(self) -> Tensor:
        """Levels of all centres as indicators, `(m, width)`."""
        return self.levels.one_hot(self.discrete, self.dtype)

    def table(self, mixing: float | Tensor, which: Tensor | slice = slice(None)) -> Tensor:
        """Return `(m, width)` level probabilities of the kernels around some centres, float64."""
        return mixing / self.counts + (1 - mixing) * self.levels.one_hot(self.discrete[which])

    def log_kernel(self, z: Tensor, one_hot: Tensor, h: float, mixing: float | Tensor) -> Tensor:
        r"""Return `(n, m)` log kernels as one matrix product of what rows and what centres contribute.

        \(\log K = -\frac{1}{2h^2}(|z|^2 - 2 z \cdot c + |c|^2) + \sum_j [l_j = c_j] \log\frac{\text{hit}_j}{\text{miss}_j} + \dots\)

        Arguments:
            z: `(n, d)` standardised numbers, NaN where unknown.
            one_hot: `(n, width)` levels, zeros where unknown.
            h: Bandwidth of the numbers.
            mixing: Share of the uniform in the kernels of levels, one for all or `(width,)`.
        """
        known = (~torch.isnan(z)).to(self.dtype)
        z, one_hot = torch.nan_to_num(z).to(self.dtype), one_hot.to(self.dtype)
        miss = mixing / self.counts
        odds = (1 + (1 - mixing) / miss).log().to(self.dtype)
        alone = -0.5 / h**2 * z.square().sum(1) - (math.log(h) + 0.5 * LOG_2PI) * known.sum(1)
        alone = alone + one_hot @ miss.log().to(self.dtype)
        rows, centres = [z / h**2, one_hot * odds], [self.numbers, self.one_hot]
        if bool(known.all()):
            rows, centres = [*rows, z.new_full((len(z), 1), -0.5 / h**2)], [*centres, self._length]
        else:
            rows, centres = [*rows, known * (-0.5 / h**2)], [*centres, self.numbers.square()]
        if bool(self.lacks.any()):
            rows = [*rows, -0.5 * (1 - h**-2) * z.square() + math.log(h) * known]
            centres = [*centres, self.lacks]
        return torch.cat(rows, 1) @ torch.cat(centres, 1).T + alone[:, None]

    @property
    def _length(self) -> Tensor:
        return self.numbers.square().sum(1, keepdim=True)

    def at(self, z: Tensor, discrete: Tensor, h: float, mixing: float | Tensor) -> Tensor:
        """Return `(n, m)` log kernels of rows: standardised numbers and levels, NaN where unknown."""
        return self.log_kernel(z, self.levels.one_hot(discrete, self.dtype), h, mixing)

    def copies(self, rows: Tensor) -> Tensor:
        """Return `(n, m)`, True where a centre equals one of the centres `rows`, itself included."""
        z, one_hot = self.numbers[rows].masked_fill(self.lacks[rows] > 0, torch.nan), self.one_hot[rows]
        log_kernel = self.log_kernel(z, one_hot, 1.0, 0.5)
        highest = one_hot @ (0.5 + 0.5 / self.counts).log().to(self.dtype) - 0.5 * LOG_2PI * (~torch.isnan(z)).sum(1)
        same = highest[:, None] - log_kernel < 1e-6 if self.numbers.shape[1] else torch.zeros(log_kernel.shape).bool()
        return same | (rows[:, None] == torch.arange(len(self.numbers)))


def summed(log_kernel: Tensor, log_weights: Tensor) -> Tensor:
    """Return logs of weighted sums of kernels `(n, m)`, `(n,)` float64; weights `(m,)`, or `(1,)` if all are the same."""
    if len(log_weights) == 1:  # no addition to every kernel
        return torch.logsumexp(log_kernel, 1).double() + log_weights
    return torch.logsumexp(log_kernel + log_weights.to(log_kernel.dtype), 1).double()


def golden(f: Callable[[float], float], low: float, high: float, tolerance: float = 0.03) -> float:
    """Return where a function with one peak on `[low, high]` is largest, by golden-section search.

    Example:
        >>> round(golden(lambda t: -((t - 1) ** 2), -3, 3, 1e-4), 3)
        1.0
    """
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = f(a), f(b)
    while high - low > tolerance:
        if at_a >= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = f(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = f(b)
    return (low + high) / 2
