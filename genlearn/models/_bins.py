r"""Numbers as levels: every column is cut where its quantiles lie, and has a proper density inside each cut.

A column's own distribution function \(F\) is piecewise linear between quantiles of the training records, with an exponential tail on
either side. Levels are intervals between some of these quantiles, so for a value in level \(b = [l, h)\)

\[ p(x \mid b) = \frac{F'(x)}{F(h) - F(l)}, \qquad p(x) = P(b_1, \ldots, b_d) \prod_j p(x_j \mid b_j). \]

A model of levels becomes a density of numbers by adding the second factor, which has no dependence in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor

from ..codecs.base import Given
from ..layout import Layout
from ._levels import Levels

KNOTS = 256  # most quantiles of a column's own distribution function
NODES = 16  # of quadrature, in every piece of it


class Bins:
    """Columns of numbers, each with a distribution function and cuts.

    Arguments:
        knots: `(d, m)` increasing places per column; where a column has fewer, the last is repeated.
        cdf: `(d, m)` distribution function there; the rest of the mass lies in the tails.
        tails: `(d,)` mean length of the exponential tails.
        cuts: `(d, b)` positions among the knots where a level ends and the next begins, -1 where a column has fewer.
    """

    def __init__(self, knots: Tensor, cdf: Tensor, tails: Tensor, cuts: Tensor) -> None:
        self.knots, self.cdf, self.tails, self.cuts = knots, cdf, tails, cuts
        self.sizes: list[int] = ((cuts >= 0).sum(1) + 1).tolist()

    @classmethod
    def fit(cls, x: Tensor, most: int = 16) -> Self:
        """Cut the columns of `(n, d)` records (NaN left out) into at most `most` levels of about equal share."""
        columns = [_column(v[~torch.isnan(v)].double(), most) for v in x.T]
        m = max((len(knots) for knots, *_ in columns), default=2)
        knots = torch.stack([_pad(k, m, float(k[-1])) for k, *_ in columns]) if columns else torch.zeros(0, m)
        cdf = torch.stack([_pad(c, m, float(c[-1])) for _, c, *_ in columns]) if columns else torch.zeros(0, m)
        b = max((len(cuts) for *_, cuts in columns), default=0)
        cuts = torch.stack([_pad(c, b, -1) for *_, c in columns]) if columns else torch.zeros(0, 0, dtype=torch.long)
        tails = torch.tensor([t for *_, t, _ in columns], dtype=torch.float64)
        return cls(knots.double(), cdf.double(), tails, cuts)

    def check(self, d: int) -> None:
        """Raise ValueError unless this describes `d` columns."""
        m = self.knots.shape[-1]
        if self.knots.shape != (d, m) or self.cdf.shape != (d, m) or self.tails.shape != (d,) or m < 2:
            raise ValueError("bins: knots, cdf and tails do not fit the columns")
        if self.cuts.shape[:1] != (d,) or self.cuts.dtype != torch.long or self.cuts.ndim != 2:
            raise ValueError("bins: cuts must hold positions for every column")
        steps, rise, first = self.knots.diff(dim=1), self.cdf.diff(dim=1), self.knots[:, 1] > self.knots[:, 0]
        finite = bool(torch.isfinite(self.knots).all()) and bool(
            (self.tails > 0).all() & torch.isfinite(self.tails).all()
        )
        inside = bool((self.cdf > 0).all()) and bool((self.cdf < 1).all())
        if not (
            finite and inside and bool(first.all()) and bool(((steps > 0) == (rise > 0)).all() & (steps >= 0).all())
        ):
            raise ValueError("bins: places and distribution functions must increase together")
        kept = self.cuts >= 0
        sorted_ = bool(((self.cuts.diff(dim=1) > 0) | ~kept[:, 1:]).all()) and bool((kept[:, 1:] <= kept[:, :-1]).all())
        ends = torch.where(kept, self.cuts.clamp(0, m - 1), 0)
        rises = self.cdf.gather(1, ends) > self.cdf[:, :1]
        falls = self.cdf.gather(1, ends) < self.cdf[:, -1:]
        if not (sorted_ and bool((self.cuts < m).all()) and bool((rises & falls | ~kept).all())):
            raise ValueError("bins: cuts must increase, inside of the places")

    # -- values and levels -------------------------------------------------------------------------------------------
    def level(self, x: Tensor) -> Tensor:
        """Return the level of every value `(n, d)`, float64; NaN where it is unknown."""
        out = torch.full_like(x, torch.nan, dtype=torch.float64)
        for j, size in enumerate(self.sizes):
            edges = self.knots[j, self.cuts[j, : size - 1]]
            known = ~torch.isnan(x[:, j])
            out[known, j] = torch.searchsorted(edges, x[known, j].double().contiguous(), right=True).double()
        return out

    def log_density(self, x: Tensor) -> Tensor:
        """Return `(n, d)` log densities of values given their levels, nats; 0 where unknown."""
        out = torch.zeros(x.shape, dtype=torch.float64)
        for j in range(len(self.sizes)):
            known = ~torch.isnan(x[:, j])
            v = x[known, j].double().contiguous()
            knots, cdf, tail = self._law(j)
            i = (torch.searchsorted(knots, v, right=True) - 1).clamp(0, len(knots) - 2)
            log_slope = (cdf.diff().log() - knots.diff().log())[i]
            low, high = knots[0] - v, v - knots[-1]
            log_slope = torch.where(low > 0, cdf[0].log() - math.log(tail) - low / tail, log_slope)
            log_slope = torch.where(high > 0, torch.log1p(-cdf[-1]) - math.log(tail) - high / tail, log_slope)
            level = torch.searchsorted(knots[self.cuts[j, : self.sizes[j] - 1]], v, right=True)
            out[known, j] = log_slope - self.mass(j).log()[level]
        return out

    def mass(self, j: int) -> Tensor:
        """Return the share of column `j`'s own distribution in every level, `(levels,)`."""
        return torch.diff(self._ends(j))

    def share(self, j: int, low: float, high: float) -> Tensor:
        """Return the share of every level of column `j` that lies in `[low, high]`, `(levels,)`."""
        ends = self._ends(j)
        below, above = (self._cdf(j, torch.tensor([v], dtype=torch.float64)) for v in (low, high))
        inside = torch.minimum(ends[1:], above) - torch.maximum(ends[:-1], below)
        return (inside.clamp_min(0) / torch.diff(ends)).clamp(0, 1)

    def draw(self, levels: Tensor, rng: torch.Generator, ranges: Mapping[int, tuple[float, float]] = {}) -> Tensor:
        """Draw values `(n, d)` in levels `(n, d)`, those of some columns `j` from within `ranges[j]`."""
        u = torch.rand(levels.shape, dtype=torch.float64, generator=rng)
        out = torch.empty_like(u)
        for j in range(len(self.sizes)):
            ends, level = self._ends(j), levels[:, j].long()
            low, high = ends[level], ends[level + 1]
            if j in ranges:
                below, above = self._cdf(j, torch.tensor(ranges[j], dtype=torch.float64))
                low, high = torch.maximum(low, below), torch.minimum(high, above)
            out[:, j] = self._quantile(j, low + u[:, j] * (high - low))
            if j in ranges:
                out[:, j] = out[:, j].clamp(*ranges[j])
        return out

    def mean(self, levels: Tensor) -> Tensor:
        """Return the means `(n, d)` of values in levels `(n, d)`."""
        return (
            torch.stack([self.means(j)[levels[:, j].long()] for j in range(len(self.sizes))], 1)
            if self.sizes
            else levels
        )

    def means(self, j: int, curve: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the mean of a value in every level of column `j`, or of the `curve` of it, `(levels,)`."""
        knots, cdf, tail = self._law(j)
        low, middle, high = knots[:1] - tail, 0.5 * (knots[1:] + knots[:-1]), knots[-1:] + tail
        if curve is not None:  # at quantiles of every piece
            u = (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES
            low, high = (curve(end).mean()[None] for end in (knots[0] + tail * u.log(), knots[-1] - tail * u.log()))
            middle = curve(knots[:-1, None] + u * knots.diff()[:, None]).mean(1)
        parts = torch.cat([cdf[:1] * low, cdf.diff() * middle, (1 - cdf[-1:]) * high])
        ends = [0, *(self.cuts[j, : self.sizes[j] - 1] + 1).tolist(), len(parts)]
        return torch.stack([parts[a:b].sum() for a, b in itertools.pairwise(ends)]) / self.mass(j)

    # -- one column --------------------------------------------------------------------------------------------------
    def _law(self, j: int) -> tuple[Tensor, Tensor, float]:
        last = int((self.knots[j].diff() > 0).sum()) + 1
        return self.knots[j, :last].contiguous(), self.cdf[j, :last].contiguous(), float(self.tails[j])

    def _ends(self, j: int) -> Tensor:
        """Return the distribution function where levels end, `(levels + 1,)` from 0 to 1."""
        return torch.nn.functional.pad(
            torch.nn.functional.pad(self.cdf[j, self.cuts[j, : self.sizes[j] - 1]], (1, 0)), (0, 1), value=1.0
        )

    def _cdf(self, j: int, v: Tensor) -> Tensor:
        knots, cdf, tail = self._law(j)
        i = (torch.searchsorted(knots, v.contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
        inside = cdf[i] + (v - knots[i]) * (cdf.diff() / knots.diff())[i]
        low = cdf[0] * torch.exp((v - knots[0]).clamp_max(0) / tail)
        high = 1 - (1 - cdf[-1]) * torch.exp(-(v - knots[-1]).clamp_min(0) / tail)
        return torch.where(v < knots[0], low, torch.where(v > knots[-1], high, inside))

    def _quantile(self, j: int, u: Tensor) -> Tensor:
        knots, cdf, tail = self._law(j)
        i = (torch.searchsorted(cdf, u.contiguous(), right=True) - 1).clamp(0, len(cdf) - 2)
        inside = knots[i] + (u - cdf[i]) * (knots.diff() / cdf.diff())[i]
        tiny = 1e-300
        low = knots[0] + tail * torch.log((u / cdf[0]).clamp(tiny, 1))
        high = knots[-1] - tail * torch.log(((1 - u) / (1 - cdf[-1])).clamp(tiny, 1))
        return torch.where(u < cdf[0], low, torch.where(u > cdf[-1], high, inside))


def _column(v: Tensor, most: int) -> tuple[Tensor, Tensor, float, Tensor]:
    """Return knots, distribution function, length of the tails and cuts of one column."""
    n = len(v)
    spread = float(v.std(correction=0)) if n else 0.0
    at = float(v.mean()) if n else 0.0
    if spread <= 1e-9 * (1 + abs(at)):  # nothing varies: a narrow block
        half = 1e-3 * (1 + abs(at))
        knots, inner = (
            torch.tensor([at - half, at + half], dtype=torch.float64),
            torch.tensor([0.0, 1.0], dtype=torch.float64),
        )
        spread = half
    elif len(found := torch.unique(v)) <= max(1, most):  # few values: each in the middle of a level of its own
        knots = torch.cat([found[:1], found[:-1] / 2 + found[1:] / 2, found[-1:]])
        counts = torch.bincount(torch.searchsorted(found, v), minlength=len(found)).double()
        inner = torch.nn.functional.pad(counts.cumsum(0) / n, (1, 0))
        return knots, _aside(inner, n), spread, torch.arange(1, len(knots) - 1)
    else:
        cells = int(min(KNOTS, max(most, round(2 * n**0.4)), n - 1)) or 1
        inner = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
        places = torch.quantile(v, inner) if n <= 10_000_000 else _quantiles(v, inner)
        knots, back = torch.unique(places, return_inverse=True)
        # Repeated values: a steep step.
        kept = torch.zeros_like(knots).scatter_reduce_(0, back, inner, "amax", include_self=False)
        inner = torch.where(torch.arange(len(knots)) > 0, kept, 0.0)
    shares = torch.linspace(0, 1, max(1, most) + 1, dtype=torch.float64)[1:-1]
    cuts = torch.unique(torch.searchsorted(inner, shares - 1e-12))
    return knots, _aside(inner, n), max(spread, 1e-300), cuts[(cuts > 0) & (cuts < len(knots) - 1)]


def _aside(inner: Tensor, n: int) -> Tensor:
    """Return a distribution function that leaves half a record, of `n + 2`, to each tail."""
    aside = 0.5 / (n + 2)
    return aside + (1 - 2 * aside) * inner


def _quantiles(v: Tensor, inner: Tensor) -> Tensor:
    return v.sort().values[(inner * (len(v) - 1)).long()]


def _pad(row: Tensor, m: int, value: float) -> Tensor:
    return torch.nn.functional.pad(row, (0, m - len(row)), value=value)


class Cells:
    """The columns of a layout as levels throughout: numbers are cut, everything else is as it is.

    Arguments:
        layout: What the columns mean; of kinds `real`, `binary`, `category`.
        bins: How its numbers are cut, in the order of `layout.columns("real")`.
    """

    def __init__(self, layout: Layout, bins: Bins) -> None:
        self.layout, self.bins = layout, bins
        self.numbers = layout.columns("real")
        self.levels = Levels(layout, cut=dict(zip(self.numbers, bins.sizes, strict=True)))

    def encode(self, x: Tensor) -> Tensor:
        """Return the levels `(n, d)` of codes `(n, d)`, float64, NaN where unknown."""
        out = x.double().clone()
        out[:, self.numbers] = self.bins.level(x[:, self.numbers])
        return out

    def log_inside(self, x: Tensor) -> Tensor:
        """Return the log densities `(n,)` of the numbers given their levels."""
        return self.bins.log_density(x[:, self.numbers]).sum(1)

    def decode(self, levels: Tensor, rng: torch.Generator | None = None, given: Given | None = None) -> Tensor:
        """Return codes `(n, d)` in levels `(n, d)`: numbers drawn from `rng`, or the means of their levels; gates shut.

        Arguments:
            levels: `(n, d)`.
            rng: None for means.
            given: Conditions that the levels meet already: values are kept, ranges narrow the draws.
        """
        out, own = levels.double().clone(), levels[:, self.numbers]
        if rng is None:
            out[:, self.numbers] = self.bins.mean(own)
        else:
            ranges = {} if given is None else given.ranges
            asked = {i: ranges[j] for i, j in enumerate(self.numbers) if j in ranges}
            out[:, self.numbers] = self.bins.draw(own, rng, asked)
        if given is not None:
            out = torch.where(torch.isnan(given.x), out, given.x.double())
        return self.layout.shut_gates(out)

    def evidence(self, given: Given | None) -> Tensor:
        """Return what conditions leave of every level, `(width,)` from 0 to 1: shares of cut numbers, 0 or 1 for the others."""
        if given is None:
            return torch.ones(self.levels.width, dtype=torch.float64)
        x = self.encode(given.x)[0]
        ranges = {j: r for j, r in given.ranges.items() if j not in self.numbers}
        kept = self.levels.within(x, ranges).double()
        for i, j in enumerate(self.numbers):
            if j in given.ranges:
                k = self.levels.columns.index(j)
                start = int(self.levels.start[k])
                kept[start : start + self.bins.sizes[i]] *= self.bins.share(i, *given.ranges[j])
        return kept
