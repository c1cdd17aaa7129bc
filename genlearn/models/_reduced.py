r"""What weights of kernels are chosen by: integrated squared error, support of the data, distribution function.

All three are convex problems over the simplex in the overlaps of kernels, \(\int K(x \mid x_i) K(x \mid x_j)\, dx\), integrated and
summed over the measure of the records: a number counts only where its gate is open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..layout import Layout
from ._kernels import CELLS, Kernels
from ._levels import Levels
from ._simplex import smo, tube_regression

PAIRS = 2  # pairs of columns per record whose distribution function is fitted
HIGHEST = 600.0  # log height of kernels over the overlap of equal ones: more would be infinite

Mixing = float | Tensor


@dataclass(frozen=True)
class Bumps:
    """Kernels around some records, and what their columns mean.

    Arguments:
        layout: Of the code.
        numbers: `(m, d)` standardised numbers, NaN where a record has none.
        discrete: `(m, c)` levels.
        h: Bandwidth.
        mixing: Share of the uniform in the kernels of levels, one for all or `(width,)`.
    """

    layout: Layout
    numbers: Tensor
    discrete: Tensor
    h: float
    mixing: Mixing

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, rows: Tensor) -> Bumps:
        """Return the kernels around some of the records."""
        return Bumps(self.layout, self.numbers[rows], self.discrete[rows], self.h, self.mixing)

    @property
    def kernels(self) -> Kernels:
        """The kernels as functions."""
        return Kernels(self.numbers, Levels(self.layout), self.discrete)

    @property
    def gates(self) -> list[tuple[list[int], int]]:
        """The numbers behind every gate, and the gate, by their place among numbers and among discrete columns."""
        numbers = {j: i for i, j in enumerate(self.layout.columns("real"))}
        columns = Levels(self.layout).columns
        return [
            ([numbers[j] for j in range(s.start, s.stop) if j in numbers], columns.index(gate))
            for s, gate in self.layout.gates
        ]

    def overlap(self, width: float, mixing: Mixing) -> Tensor:
        r"""Return logs `(m, m)` of \(\int K(x \mid x_i) K(x \mid x_j)\,dx\) for kernels that are \(1/\sqrt2\) as wide as `width`.

        The overlap of Gaussians is a Gaussian of the sum of variances, that of levels with shares \(1 - \lambda\) the kernel with
        \((1 - \lambda)^2\). A gate with numbers behind it overlaps as \(T + o_i o_j (J - 1)\): T of the levels alone, o the
        probability that it is open, J the overlap of the numbers.

        Arguments:
            width: Standard deviation of the overlap of two numbers.
            mixing: Share of the uniform in the overlap of levels.
        """
        levels = Levels(self.layout)
        gated = [i for own, _ in self.gates for i in own]
        free = [i for i in range(self.numbers.shape[1]) if i not in gated]
        plain = Kernels(self.numbers[:, free], levels, self.discrete)
        out = torch.empty(len(self), len(self), dtype=torch.float64)
        for rows in torch.arange(len(self)).split(max(1, CELLS // len(self))):
            part = plain.log_kernel(self.numbers[rows][:, free], plain.one_hot[rows], width, mixing).double()
            for own, gate in self.gates:
                part += self._behind(rows, own, gate, width, mixing)
            out[rows] = part
        return (out + out.T) / 2

    def below(self, column: int, t: Tensor) -> Tensor:
        """Return `(k, m)` probabilities under every kernel that a column's value is at most (of levels: is) `t`, `(k, 1)`."""
        if column >= self.numbers.shape[1]:
            i = column - self.numbers.shape[1]
            share, count = self._share(i), Levels(self.layout).counts[i]
            return (1 - share) * (self.discrete[:, i] == t).double() + share / count
        value = self.numbers[:, column].double()
        sd = torch.full_like(value, self.h).masked_fill(torch.isnan(value), 1.0)
        out = torch.special.ndtr((t - torch.nan_to_num(value)) / sd)
        for own, gate in self.gates:
            if column in own:
                share, count = self._share(gate), Levels(self.layout).counts[gate]
                out = out * ((1 - share) * (self.discrete[:, gate] == 0).double() + share / count)
        return out

    def _share(self, i: int) -> float:
        """Return the share of the uniform in the kernel of a discrete column."""
        return float(self.mixing[Levels(self.layout).start[i]]) if isinstance(self.mixing, Tensor) else self.mixing

    def _behind(self, rows: Tensor, own: list[int], gate: int, width: float, mixing: Mixing) -> Tensor:
        """Return logs `(rows, m)` of what the numbers behind a gate change."""
        levels = Levels(self.layout)
        share = float(mixing[levels.start[gate]]) if isinstance(mixing, Tensor) else mixing
        count, level = levels.counts[gate], self.discrete[:, gate]
        both = (1 - share) * (level[rows, None] == level).double() + share / count
        keep = math.sqrt(1 - share)
        is_open = keep * (level == 0).double() + (1 - keep) / count
        log_j = torch.zeros_like(both)
        for i in own:
            value, lacks = torch.nan_to_num(self.numbers[:, i].double()), torch.isnan(self.numbers[:, i])
            variance = torch.full_like(value, width**2 / 2).masked_fill(lacks, 1.0)
            total = variance[rows, None] + variance
            log_j -= 0.5 * ((value[rows, None] - value).square() / total + (2 * math.pi * total).log())
        return torch.log1p(is_open[rows, None] * is_open / both * torch.expm1(log_j))


def reduced_set(bumps: Bumps, numbers: Tensor, discrete: Tensor, own: Tensor, smoothing: float) -> np.ndarray:
    r"""Return the weights that minimise the integrated squared error, \(\frac12 \alpha^\top C \alpha - \alpha^\top p\).

    C are the overlaps, \(p_i\) the mean over the records of the kernel around \(x_i\). At \(x_i\) itself it counts as 0: for kernels
    of one height that takes away a constant, and else what would favour the high ones.

    Arguments:
        bumps: Kernels, m of them.
        numbers: `(n, d)` standardised numbers of all records, NaN where unknown.
        discrete: `(n, c)` levels of all records.
        own: Which of the records a kernel stands on, `(m,)`.
        smoothing: Standard deviation, in bandwidths, of what blurs density and records before the error is measured.
    """
    q = 1 / (1 + smoothing**2)
    log_gram = bumps.overlap(bumps.h * math.sqrt(1 + 1 / q), 1 - (1 - bumps.mixing) ** 2 * q)
    height = float(log_gram.diagonal().max())
    gram = (log_gram - height).exp_().numpy()
    linear = torch.zeros(len(bumps), dtype=torch.float64)
    kernels = bumps.kernels
    for rows in torch.arange(len(numbers)).split(max(1, CELLS // len(bumps))):
        log_kernel = kernels.at(numbers[rows], discrete[rows], bumps.h / math.sqrt(q), 1 - (1 - bumps.mixing) * q)
        log_kernel = log_kernel.double().masked_fill(rows[:, None] == own, -torch.inf)
        linear += (log_kernel - height).clamp_max(HIGHEST).exp_().sum(0)
    linear /= max(1, len(numbers))
    start = np.zeros(len(bumps))  # one kernel: what it never needs stays out
    start[np.argmin(0.5 * gram.diagonal() - linear.numpy())] = 1
    return smo(gram, linear.numpy(), start)[0]


def one_class(bumps: Bumps, nu: float) -> np.ndarray:
    r"""Return the weights of the one-class support-vector machine.

    \(\min \frac12 \alpha^\top K \alpha\) with \(\alpha_i \le 1/(\nu m)\).
    """
    log_gram = bumps.overlap(bumps.h, bumps.mixing)
    gram = (log_gram - log_gram.diagonal().max()).exp_().numpy()
    m = len(bumps)
    return smo(gram, np.zeros(m), np.full(m, 1 / m), upper=1 / max(1.0, nu * m), tol=1e-3)[0]


def distribution(bumps: Bumps, numbers: Tensor, discrete: Tensor, tube: float, rng: torch.Generator) -> np.ndarray:
    r"""Return the weights whose distribution function fits the empirical one, by support-vector regression.

    \(\min \frac12 \alpha^\top C \alpha + \frac1{2E} \sum_e \max(0, |F_e - (A\alpha)_e| / \sigma_e - \kappa)^2\), with \(\sigma_e\) the
    standard error of the empirical \(F_e\). Up to two columns, F is their joint distribution function at every record; of more
    columns, at every record those of pairs drawn at random (that of all is close to zero everywhere).

    Arguments:
        bumps: Kernels, m of them.
        numbers: `(n, d)` standardised numbers of all records, NaN where unknown.
        discrete: `(n, c)` levels of all records.
        tube: \(\kappa\), the half width of the tube in standard errors.
        rng: Draws pairs of columns.
    """
    values = torch.cat([bumps.numbers.double(), bumps.discrete.double()], 1)
    places, n = _pairs(bumps, rng)
    at = torch.arange(len(bumps)).repeat(len(places) // len(bumps))
    everyone = torch.cat([numbers.double(), discrete.double()], 1)
    design = torch.ones(len(at), len(bumps), dtype=torch.float64)
    found = torch.empty(len(at), dtype=torch.float64)
    for rows in torch.arange(len(at)).split(max(1, CELLS // max(len(bumps), len(everyone)))):
        seen = torch.ones(len(rows), len(everyone), dtype=torch.bool)
        for column in places[rows].T:
            threshold = values[at[rows], column][:, None]
            for c in column.unique().tolist():
                pick = (column == c).nonzero()[:, 0]
                t = threshold[pick]
                design[rows[pick]] *= bumps.below(c, t)
                seen[pick] &= (everyone[:, c] <= t) if c < n else (everyone[:, c] == t)
        found[rows] = seen.double().mean(1)
    error = (found * (1 - found) / len(everyone) + 1 / len(everyone) ** 2).sqrt()
    log_gram = bumps.overlap(bumps.h * math.sqrt(2), 1 - (1 - bumps.mixing) ** 2)
    gram = (log_gram - log_gram.diagonal().max()).exp_().numpy()
    return tube_regression(gram, (design / error[:, None]).numpy(), (found / error).numpy(), tube)


def _pairs(bumps: Bumps, rng: torch.Generator) -> tuple[Tensor, int]:
    """Return the columns `(E, 1 or 2)` whose distribution functions are fitted, numbers before levels, and how many are numbers."""
    n = bumps.numbers.shape[1]
    width = n + bumps.discrete.shape[1]
    if width <= 2:
        places = torch.arange(width).repeat(len(bumps), 1)
    else:
        places = torch.rand(PAIRS * len(bumps), width, generator=rng).topk(2, 1).indices
    behind = torch.arange(width)
    for own, gate in bumps.gates:
        behind[own] = n + gate
    lacks = torch.zeros(len(places), width, dtype=torch.bool)
    lacks[:, :n] = torch.isnan(bumps.numbers).repeat(len(places) // len(bumps), 1)
    return torch.where(lacks.gather(1, places), behind[places], places), n
