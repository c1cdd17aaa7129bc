"""Independent columns: what a model scores that has learned no relation between values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..codecs.base import Given
from ..errors import Problem
from ..layout import Code, Field, Kind
from ..model import Conditional, How, Imputes, Model, Scores
from ._levels import Levels
from ._means import Means

QUANTILES = 256  # over which the mean of a number on a curved scale is taken
DISCRETE: tuple[Kind, ...] = ("binary", "category", "ordered")


class Marginals(Scores, Imputes, Conditional, Model):
    r"""Every value drawn on its own, from histograms of numbers and tables of levels: \(p(x) = \prod_j p_j(x_j)\).

    - A **number** has a histogram whose bins hold about equally many records (at most `bins`), with exponential tails
      outside the training range that hold half a record each: \(p(x) = m_b / (e_{b+1} - e_b)\) in bin b.
    - A **level** has the add-half estimate \((n_l + \frac12) / (n + \frac12 L)\). An open lattice (counts) has geometric tails
      of half a record each beyond the levels seen, so that no whole number is impossible.
    - A **gated number** (one that can be missing, or an atom) has the density of the values that are present.

    Conditions on some columns leave the others as they are: that is what independence means. Every model should beat it.

    Arguments:
        bins: Most bins of a number's histogram; fewer where records are few (twice the cube root of their count).

    References:
        The use of add-half: An invariant form for the prior probability (Jeffreys, 1946), https://doi.org/10.1098/rspa.1946.0056
        On the histogram as a density estimator (Freedman & Diaconis, 1981), https://doi.org/10.1007/BF01025868

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(2000, 1))
        >>> round(Marginals(random_state=0).fit(x).score(x), 1)  # entropy of a standard normal: 1.42 nats
        -1.4
    """

    takes: ClassVar[frozenset[str]] = frozenset({"real", "ordered", "binary", "category"})
    label_as_field: ClassVar[bool] = True
    reference: ClassVar[bool] = True
    conditions: ClassVar[Literal["target", "any"]] = "any"
    xfail: ClassVar[Mapping[str, str]] = {"learns_a_correlated_gaussian": "independent columns have no correlation"}

    bins: int = 50

    def _check_params(self) -> None:
        super()._check_params()
        if self.bins < 1:
            raise Problem(f"marginals: bins must be at least 1, not {self.bins}.")

    def _fit(self, code: Code, valid: Code | None) -> None:
        levels = self._levels
        counts = levels.count(code.x[:, levels.columns])
        shown = levels.total(counts[None])[0]
        tails = 0.5 * self._open / (shown + 1)
        within = (counts + 0.5) / (shown + 0.5 * torch.tensor(levels.counts, dtype=torch.float64))[levels.owner]
        self.tables_: Tensor = within * (1 - 2 * tails)[levels.owner]
        self.tails_: Tensor = tails
        shapes = [histogram(code.x[:, j].double(), self.bins) for j in self._numbers.tolist()]
        empty = torch.zeros(0, 2 * self.bins + 2, dtype=torch.float64)
        self.histograms_: Tensor = torch.stack(shapes) if shapes else empty
        self._tell(1, 1, 0.0, done=True, note="counted")

    # -- pieces ------------------------------------------------------------------------------------------------------
    @property
    def _levels(self) -> Levels:
        return Levels(self.layout_, DISCRETE)

    @property
    def _numbers(self) -> Tensor:
        return torch.tensor(self.layout_.columns("real"), dtype=torch.long)

    @property
    def _histograms(self) -> Histograms:
        edges, mass, scale = self.histograms_.split([self.bins + 1, self.bins, 1], 1)
        return Histograms(edges.contiguous(), mass, scale[:, 0])

    @property
    def _lattice(self) -> list[Field]:
        """The field of every discrete column."""
        fields = {j: f for f, s in self.layout_.slices() for j in range(s.start, s.stop)}
        return [fields[j] for j in self._levels.columns]

    @property
    def _open(self) -> Tensor:
        """1 for every discrete column on an open lattice, else 0."""
        return torch.tensor([float(f.kind == "ordered" and not f.bounded) for f in self._lattice], dtype=torch.float64)

    @property
    def _decay(self) -> Tensor:
        """Ratio of neighbouring levels' probabilities in the geometric tails, `(columns,)`."""
        scale = torch.tensor([max(f.scale, 1.0) for f in self._lattice], dtype=torch.float64)
        return scale / (scale + 1)

    def _check_learned(self) -> None:
        super()._check_learned()
        levels, d = self._levels, len(self._numbers)
        self._expect(tables_=(levels.width,), tails_=(len(levels.columns),), histograms_=(d, 2 * self.bins + 2))
        if not bool((self.tables_ >= 0).all() and (levels.total(self.tables_[None]) > 0).all()):
            raise ValueError("tables_ holds no probabilities")

    # -- answers -----------------------------------------------------------------------------------------------------
    def _log_prob(self, code: Code) -> Tensor:
        return torch.cat([self._rows(x) for x in code.x.split(4096)])

    def _rows(self, x: Tensor) -> Tensor:
        levels, numbers = self._levels, self._numbers
        value = x[:, levels.columns].double()
        beyond = torch.maximum(-value, value - torch.tensor(levels.counts) + 1)  # steps outside the levels seen, if > 0
        geometric = (self.tails_ * (1 - self._decay)).log() + (beyond - 1) * self._decay.log()
        inside = torch.where((beyond > 0) | torch.isnan(value), 0.0, value).long() + levels.start
        each = torch.where(beyond > 0, geometric, self.tables_.log()[inside])
        return torch.where(torch.isnan(value), 0.0, each).sum(1) + torch.nan_to_num(
            self._histograms.log_density(x[:, numbers].double())
        ).sum(1)

    def _sample(self, n: int, rng: torch.Generator, given: Given | None) -> Code:
        levels, numbers, shapes = self._levels, self._numbers, self._histograms
        x = torch.full((n, self.layout_.size), torch.nan, dtype=torch.float64)
        ranges = {} if given is None else given.ranges
        asked = x[0].clone() if given is None else given.x[0].double()
        places = self.tables_ * levels.within(asked, ranges)
        mass = levels.total(places[None])[0]
        low, high = torch.zeros(len(numbers), dtype=torch.float64), torch.ones(len(numbers), dtype=torch.float64)
        for i, j in enumerate(numbers.tolist()):
            if j in ranges:
                bounds = torch.full((2, len(numbers)), torch.nan, dtype=torch.float64)
                bounds[:, i] = torch.tensor(ranges[j], dtype=torch.float64)
                low[i], high[i] = shapes.cdf(bounds)[:, i]
        if (mass <= 0).any() or (high <= low).any():
            raise Problem(
                f"marginals: no record has {', '.join(given.names) if given else ''} as asked. Widen the condition."
            )
        x[:, levels.columns] = levels.draw_alike(places, n, rng)
        free = torch.isnan(asked[levels.columns]) & torch.tensor(
            [j not in ranges for j in levels.columns], dtype=torch.bool
        )
        x[:, levels.columns] = self._leave(x[:, levels.columns], free, rng)
        u = torch.rand(n, len(numbers), dtype=torch.float64, generator=rng)
        x[:, numbers] = shapes.quantile(low + u * (high - low))
        return Code(self.layout_.shut_gates(torch.where(torch.isnan(asked), x, asked)))

    def _leave(self, levels: Tensor, free: Tensor, rng: torch.Generator) -> Tensor:
        """Move draws on open lattices into the tails as often as their mass says."""
        if not bool((self._open * free).any()):
            return levels
        u, steps = torch.rand(2, *levels.shape, dtype=torch.float64, generator=rng)
        beyond = torch.floor(torch.log1p(-steps) / self._decay.log())
        tails = self.tails_ * free
        top = torch.tensor(self._levels.counts, dtype=torch.float64)
        return torch.where(u < tails, -1 - beyond, torch.where(u > 1 - tails, top + beyond, levels))

    def _impute(self, code: Code, how: How, rng: torch.Generator) -> Code:
        if code.mask is None:
            return code
        levels, numbers, shapes = self._levels, self._numbers, self._histograms
        n, unknown = len(code), ~code.mask
        filled = torch.where(unknown, torch.nan, code.x.double())
        fresh = torch.full((1, len(levels.columns)), torch.nan)
        places = (self.tables_ * levels.allowed(fresh, torch.ones_like(fresh).bool()))[0]
        values = levels.draw_alike(places, n, rng) if how == "draw" else levels.mode(places[None])
        means = Means(self.codec_.units, levels)
        ordered = torch.tensor([f.kind == "ordered" for f in self._lattice], dtype=torch.bool)
        if how == "mean" and ordered.any():
            level = torch.arange(levels.width) - levels.start[levels.owner]
            values = torch.where(ordered, levels.total(levels.share(places[None]) * level).round(), values)
        filled[:, levels.columns] = torch.where(unknown[:, levels.columns], values, filled[:, levels.columns])
        if how == "draw":
            drawn = shapes.quantile(torch.rand(n, len(numbers), dtype=torch.float64, generator=rng))
        else:
            drawn = (self._means(means) if how == "mean" else shapes.mode()).expand(n, -1)
        filled[:, numbers] = torch.where(unknown[:, numbers], drawn, filled[:, numbers])
        if how == "mean":
            filled = means.put(filled, unknown, places.expand(n, -1))
        return Code(self.layout_.shut_gates(filled), code.y, None, code.log_det)

    def _means(self, means: Means) -> Tensor:
        """Return the means of numbers `(d,)`, their curves applied."""
        out = self._histograms.mean().clone()
        u = ((torch.arange(QUANTILES) + 0.5) / QUANTILES).double()[:, None].expand(-1, len(out))
        for i, j in enumerate(self._numbers.tolist()):
            if (curve := means.curve(j)) is not None:
                out[i] = curve(self._histograms.quantile(u)[:, i]).mean()
        return out


@dataclass(frozen=True)
class Histograms:
    r"""Histograms of d columns with exponential tails \(p(x) = \frac ts e^{-|x - e|/s}\) of mass t beyond the outer edges e.

    Arguments:
        edges: `(d, B + 1)`; rows with fewer bins repeat their last edge.
        mass: `(d, B)`, probabilities of the bins.
        scale: `(d,)`, s.
    """

    edges: Tensor
    mass: Tensor
    scale: Tensor

    @property
    def tail(self) -> Tensor:
        """Mass of either tail, `(d,)`."""
        return (1 - self.mass.sum(1)) / 2

    def _bin(self, x: Tensor) -> Tensor:
        """Return 0 left of the first edge, b + 1 in bin b, B + 1 right of the last edge, `(d, n)`."""
        return torch.searchsorted(self.edges, x.T.contiguous(), right=True)

    def log_density(self, x: Tensor) -> Tensor:
        """Return `(n, d)` log densities, NaN where x is NaN."""
        at = self._bin(x)
        inner = self.mass.log() - self.edges.diff(dim=1).log()
        log_tail = (self.tail / self.scale).log()[:, None]
        height = torch.cat([log_tail, torch.nan_to_num(inner, nan=-torch.inf), log_tail], 1).gather(1, at).T
        outside = torch.relu(self.edges[:, 0] - x) + torch.relu(x - self.edges[:, -1])
        return torch.where(torch.isnan(x), torch.nan, height - outside / self.scale)

    @property
    def _cumulative(self) -> Tensor:
        """Distribution function at the edges, `(d, B + 1)`."""
        return self.tail[:, None] + torch.nn.functional.pad(self.mass.cumsum(1), (1, 0))

    def cdf(self, x: Tensor) -> Tensor:
        """Return the distribution function at `(n, d)` values."""
        last = self.mass.shape[1] - 1
        b = (self._bin(x) - 1).clamp(0, last)
        start, width = self.edges.gather(1, b), self.edges.diff(dim=1).gather(1, b)
        share = ((x.T - start) / width.clamp_min(1e-300)).clamp(0, 1)
        inner = (self._cumulative.gather(1, b) + share * self.mass.gather(1, b)).T
        left = self.tail * torch.exp(-torch.relu(self.edges[:, 0] - x) / self.scale)
        right = 1 - self.tail * torch.exp(-torch.relu(x - self.edges[:, -1]) / self.scale)
        return torch.where(x < self.edges[:, 0], left, torch.where(x > self.edges[:, -1], right, inner))

    def quantile(self, u: Tensor) -> Tensor:
        """Undo `cdf` for `(n, d)` probabilities."""
        cumulative = self._cumulative
        b = (torch.searchsorted(cumulative, u.T.contiguous(), right=True) - 1).clamp(0, self.mass.shape[1] - 1)
        share = ((u.T - cumulative.gather(1, b)) / self.mass.gather(1, b).clamp_min(1e-300)).clamp(0, 1)
        inner = (self.edges.gather(1, b) + share * self.edges.diff(dim=1).gather(1, b)).T
        left = self.edges[:, 0] + self.scale * (u / self.tail).clamp(1e-300, 1).log()
        right = self.edges[:, -1] - self.scale * ((1 - u) / self.tail).clamp(1e-300, 1).log()
        return torch.where(u < self.tail, left, torch.where(u > 1 - self.tail, right, inner))

    def mean(self) -> Tensor:
        """Return the means, `(d,)`."""
        middle = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        return (self.mass * middle).sum(1) + self.tail * (self.edges[:, 0] + self.edges[:, -1])

    def mode(self) -> Tensor:
        """Return the middle of the highest bin, `(d,)`."""
        height = torch.nan_to_num(self.mass / self.edges.diff(dim=1))
        b = height.argmax(1, keepdim=True)
        return ((self.edges.gather(1, b) + self.edges.gather(1, b + 1)) / 2)[:, 0]


def histogram(values: Tensor, bins: int) -> Tensor:
    """Return edges, masses and tail scale of one column in a row of `2 * bins + 2` numbers; NaN values are left out."""
    v = values[~torch.isnan(values)]
    n = len(v)
    low, high = (float(v.min()), float(v.max())) if n else (-0.5, 0.5)
    if high - low <= 1e-9 * (1 + abs(low)):
        low, high = low - 0.5, high + 0.5
    few = max(1, min(bins, round(2 * n ** (1 / 3))))
    margin = 1e-6 * (high - low)
    cuts = torch.quantile(v, torch.linspace(0, 1, few + 1, dtype=torch.float64)[1:-1]) if n and few > 1 else v[:0]
    cuts = cuts[(cuts > low + margin) & (cuts < high - margin)]
    edges = [low - margin]
    for cut in cuts.tolist():
        if cut - edges[-1] > margin:
            edges.append(cut)
    edges.append(high + margin)
    e = torch.tensor(edges, dtype=torch.float64)
    counts = torch.bincount(torch.bucketize(v, e, right=True) - 1, minlength=len(e) - 1).double()
    mass = (1 - 1 / (n + 1)) * (counts + 0.5) / (n + 0.5 * len(counts))
    scale = float(v.std()) if n > 1 and float(v.std()) > 0 else (high - low) / 2
    pad = bins - len(mass)
    return torch.cat(
        [e, e[-1].expand(pad), mass, torch.zeros(pad, dtype=torch.float64), torch.tensor([scale]).double()]
    )
