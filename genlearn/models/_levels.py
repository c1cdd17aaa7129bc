"""Discrete columns side by side: one-hot places, sums and draws per column, for mixtures, kernels and tables of levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..layout import Kind, Layout


class Levels:
    """The discrete columns of a layout: each owns as many consecutive places as it has levels.

    Arguments:
        layout: What the columns mean.
        kinds: Field kinds that count as discrete here.
        cut: Columns of numbers that count as discrete too, with the number of their levels.
    """

    def __init__(
        self, layout: Layout, kinds: Sequence[Kind] = ("binary", "category"), cut: Mapping[int, int] | None = None
    ) -> None:
        cut = cut or {}
        kept = [(f, s) for f, s in layout.slices() if f.kind in kinds or s.start in cut]
        self.columns = [j for _, s in kept for j in range(s.start, s.stop)]
        sizes = [2 if f.kind == "binary" else f.levels for f, _ in kept for _ in range(f.size)]
        self.counts = [cut.get(j, size) for j, size in zip(self.columns, sizes, strict=True)]
        absent = (f.absent for f, _ in kept for _ in range(f.size))
        self.absent = [(i, level) for i, level in enumerate(absent) if level is not None]
        self.width = sum(self.counts)

    @cached_property
    def start(self) -> Tensor:
        """The first place of every column, `(columns,)`."""
        counts = torch.tensor(self.counts, dtype=torch.long)
        return counts.cumsum(0) - counts

    @cached_property
    def owner(self) -> Tensor:
        """The column of every place, `(width,)`."""
        return torch.repeat_interleave(torch.arange(len(self.counts)), torch.tensor(self.counts, dtype=torch.long))

    def one_hot(self, values: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return `(n, width)` indicators of levels `(n, columns)`; an unknown (NaN) value gives zeros."""
        if set(self.counts) == {2}:  # binary images: no scattering
            one = values.to(dtype)
            return torch.nan_to_num(torch.stack([1 - one, one], 2)).flatten(1)
        out = torch.zeros(len(values), self.width + 1, dtype=dtype)
        if self.columns:
            place = torch.nan_to_num(values.to(torch.float32), nan=-1.0).long()
            out.scatter_(1, torch.where(place < 0, self.width, place + self.start), 1.0)
        return out[:, : self.width]

    def count(self, values: Tensor) -> Tensor:
        """Return how often every level occurs in `(n, columns)` values, `(width,)` float64; NaN is left out."""
        total = torch.zeros(self.width, dtype=torch.float64)
        for part in values.split(max(1, 4_000_000 // max(1, len(self.columns)))):
            known = ~torch.isnan(part) if part.is_floating_point() else torch.ones_like(part, dtype=torch.bool)
            place = torch.nan_to_num(part.double()).long() + self.start
            total += torch.bincount(place[known], minlength=self.width).double()
        return total

    def total(self, weights: Tensor) -> Tensor:
        """Return sums of `(n, width)` weights per column, `(n, columns)`."""
        return torch.zeros(len(weights), len(self.counts), dtype=weights.dtype).index_add_(1, self.owner, weights)

    def share(self, weights: Tensor) -> Tensor:
        """Return weights divided by their column's sum: probabilities."""
        return weights / self.total(weights)[:, self.owner]

    def draw(self, weights: Tensor, rng: torch.Generator) -> Tensor:
        """Draw a level of every column, `(n, columns)` float64, in proportion to `(n, width)` weights."""
        below = torch.cat([torch.zeros(len(weights), 1, dtype=weights.dtype), weights.cumsum(1)], 1)
        u = torch.rand(len(weights), len(self.counts), dtype=weights.dtype, generator=rng) * (1 - 1e-12)
        first = below[:, self.start]
        threshold = first + u * (below[:, self.start + torch.tensor(self.counts, dtype=torch.long)] - first)
        passed = (below[:, 1:] <= threshold[:, self.owner]).to(weights.dtype)
        return torch.minimum(self.total(passed), torch.tensor(self.counts) - 1.0).double()

    def draw_alike(self, weights: Tensor, n: int, rng: torch.Generator) -> Tensor:
        """Draw `n` rows of levels, `(n, columns)` float64, all in proportion to the same `(width,)` weights."""
        cumulative = self.share(weights[None])[0].cumsum(0)
        before = torch.nn.functional.pad(cumulative, (1, 0))[self.start][self.owner]
        u = torch.rand(n, len(self.counts), dtype=weights.dtype, generator=rng) * (1 - 1e-9)
        # Column j's distribution function lies between j and j + 1: one search serves all columns.
        place = torch.searchsorted(cumulative - before + self.owner, u + torch.arange(len(self.counts)), right=True)
        return (place - self.start).double()

    def mode(self, weights: Tensor) -> Tensor:
        """Return the level of largest weight of every column, `(n, columns)` float64."""
        if len(set(self.counts)) == 1:
            return weights.view(len(weights), -1, self.counts[0]).argmax(2).double()
        parts = [p.argmax(1).double() for p in weights.split(self.counts, 1)]
        return torch.stack(parts, 1) if parts else torch.zeros(len(weights), 0, dtype=torch.float64)

    def choose(self, weights: Tensor, how: str, rng: torch.Generator) -> Tensor:
        """`draw` or `mode`, whichever `how` asks for."""
        return self.draw(weights, rng) if how == "draw" else self.mode(weights)

    def allowed(self, values: Tensor, unknown: Tensor) -> Tensor:
        """Return the places `(n, width)` that a filled-in record may take.

        Known values allow themselves; unknown ones every level but "missing".

        Arguments:
            values: `(n, columns)` levels, NaN where unknown.
            unknown: `(n, columns)`, True where a value is to be filled in.
        """
        known = self.one_hot(values).bool()
        free = torch.isnan(values.to(torch.float32))[:, self.owner]
        places = known | free
        for i, level in self.absent:
            places[:, self.start[i] + level] &= ~(free[:, self.start[i]] & unknown[:, i])
        return places

    def present(self, weights: Tensor) -> Tensor:
        """Return `(n, width)` probabilities given that no value is missing."""
        out = weights.clone()
        for i, level in self.absent:
            start = int(self.start[i])
            out[:, start + level] = 0.0
            span = slice(start, start + self.counts[i])
            out[:, span] = out[:, span] / out[:, span].sum(1, keepdim=True).clamp_min(torch.finfo(out.dtype).tiny)
        return out

    def within(self, x: Tensor, ranges: dict[int, tuple[float, float]]) -> Tensor:
        """Return the places `(width,)` that conditions on one record `x` of `(d,)` and ranges of levels leave."""
        places = self.allowed(x[None, self.columns], torch.zeros(1, len(self.columns), dtype=torch.bool))[0]
        for i, j in enumerate(self.columns):
            if j in ranges:
                level = torch.arange(self.counts[i])
                span = slice(int(self.start[i]), int(self.start[i]) + self.counts[i])
                places[span] &= (level >= ranges[j][0]) & (level <= ranges[j][1])
        return places
