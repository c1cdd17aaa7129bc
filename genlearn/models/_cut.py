"""Where a mixture cuts numbers: at the values that repeat, and else evenly in normal scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ..codecs.scales import HEAVY, SKEWED
from ..layout import Field, Layout
from ._bins import Bins

CELLS = 128  # most cells of a column whose values hardly repeat
VALUES = 1024  # most values of a column that each get a cell of their own
UNEVEN = 4.0  # longest step between cells, in medians, from which on cells are taken for single values
WIDE, FEW = 100, 24  # with more columns than this, at most so many cells in each
REPEATS = 5  # records per value, on average, from which on values get cells


def cut(layout: Layout, x: Tensor, most: int = CELLS) -> Bins:
    """Return the cells of the numbers `(n, d)` of a layout, in its order.

    Arguments:
        layout: What the columns of the code mean.
        x: Its columns of kind `real`, NaN where unknown.
        most: Most cells of a column whose values hardly repeat.
    """
    fields = [f for f, s in layout.slices() if f.kind == "real" for _ in range(f.size)]
    each, most = (FEW, min(FEW, most)) if layout.size > WIDE else (VALUES, most)
    columns = [_column(v[~torch.isnan(v)].double(), f, most, each) for v, f in zip(x.T, fields, strict=True)]
    m = max((len(k) for k, *_ in columns), default=2)
    b = max((len(c) for *_, c in columns), default=0)
    if not columns:
        return Bins(
            torch.zeros(0, 2).double(), torch.zeros(0, 2).double(), torch.zeros(0).double(), torch.zeros(0, 0).long()
        )
    knots = torch.stack([_pad(k, m, float(k[-1])) for k, *_ in columns])
    cdf = torch.stack([_pad(c, m, float(c[-1])) for _, c, *_ in columns])
    cuts = torch.stack([_pad(c, b, -1) for *_, c in columns])
    return Bins(knots, cdf, torch.tensor([t for *_, t, _ in columns], dtype=torch.float64), cuts)


def edges(bins: Bins) -> list[Tensor]:
    """Return the inner edges of every column's cells on the axis where its components are normal.

    That axis is the column's normal scores, in which every column is normal as a whole. But scores close the gaps between modes, and
    components would spill over: so no step is shorter than that of the standardised column, unless it is skewed or heavy-tailed,
    or its cells are single values, where rare ones must not borrow from the length of the step.
    """
    return [_axis(bins, j) for j in range(len(bins.sizes))]


def _axis(bins: Bins, j: int) -> Tensor:
    mass, means = bins.mass(j), bins.means(j)
    scores = torch.special.ndtri(mass.cumsum(0).clamp(max=1)[:-1])
    centred = means - mass @ means
    sd = (mass @ centred.square()).sqrt().clamp_min(1e-300)
    z = centred / sd
    uneven = len(scores) > 2 and float(scores.diff().max()) > UNEVEN * float(scores.diff().median())
    if len(scores) < 2 or uneven or abs(float(mass @ z**3)) > SKEWED or float(mass @ z**4) - 3 > HEAVY:
        return scores
    steps = torch.maximum(scores.diff(), bins.knots[j, bins.cuts[j, : bins.sizes[j] - 1]].diff() / sd)
    out = torch.nn.functional.pad(steps.cumsum(0), (1, 0))
    middle = int((mass.cumsum(0)[:-1] - 0.5).abs().argmin())
    return out - out[middle] + scores[middle]


def _column(v: Tensor, field: Field, most: int, each: int) -> tuple[Tensor, Tensor, float, Tensor]:
    n = len(v)
    if field.width and n and (field.levels or field.width == 1.0):
        origin = -1.0 if field.levels else -0.5
        k = torch.floor((v - origin) / field.width)
        values, counts = torch.unique(k, return_counts=True)
        if len(values) <= most or (len(values) <= VALUES and n >= REPEATS * len(values)):
            return _values(values, counts.double(), origin, field.width, each)
    return _smooth(v, most)


def _values(
    values: Tensor, counts: Tensor, origin: float, width: float, most: int
) -> tuple[Tensor, Tensor, float, Tensor]:
    """Return one cell per lattice value, or, if there are too many, cells of neighbours; a gap goes with the lower value."""
    n = counts.sum()
    low, high = origin + values * width, origin + (values + 1) * width
    gap = torch.cat([low[1:] > high[:-1] + 0.5 * width, torch.tensor([False])])
    aside = 0.5 / (n + 2)  # mass of each tail; all gaps together have less
    share = counts / n * (1 - 2 * aside - (1e-3 * aside) * gap.sum())
    knots, mass, starts = [low[:1]], [share[:0]], [0]
    for i in range(len(values)):
        knots.append(high[i : i + 1])
        mass.append(share[i : i + 1])
        if gap[i]:
            knots.append(low[i + 1 : i + 2])
            mass.append((1e-3 * aside).view(1))
        starts.append(starts[-1] + 1 + int(gap[i]))
    cdf = aside + torch.nn.functional.pad(torch.cat(mass).cumsum(0), (1, 0))
    cuts = torch.tensor(starts[1:-1], dtype=torch.long)
    if len(values) > most:
        part = torch.floor(share.cumsum(0) * most)[:-1]  # a new cell begins where a further share of the mass is full
        cuts = cuts[torch.cat([part[:1] > 0, part.diff() > 0])]
    return torch.cat(knots), cdf, 0.5 * width, cuts


def _smooth(v: Tensor, most: int) -> tuple[Tensor, Tensor, float, Tensor]:
    """Return cells that are even in normal scores."""
    n = len(v)
    spread = float(v.std(correction=0)) if n else 0.0
    at = float(v.mean()) if n else 0.0
    if spread <= 1e-9 * (1 + abs(at)):
        half = 1e-3 * (1 + abs(at))
        knots = torch.tensor([at - half, at + half], dtype=torch.float64)
        aside = 0.5 / (n + 2)
        return knots, torch.tensor([aside, 1 - aside], dtype=torch.float64), half, torch.zeros(0, dtype=torch.long)
    end = torch.special.ndtri(torch.tensor(0.5 / n, dtype=torch.float64)).abs()
    cells = max(2, min(most, n // 4))
    inner = torch.special.ndtr(torch.linspace(-1, 1, cells - 1, dtype=torch.float64) * end)
    ordered = v.sort().values
    places = ordered[(inner * n).long().clamp(0, n - 1)]
    knots = torch.unique(torch.cat([ordered[:1], places, ordered[-1:]]))
    below = torch.searchsorted(ordered, knots, right=False).double()
    until = torch.searchsorted(ordered, knots, right=True).double()
    cdf = (0.5 * (below + until) + 0.5) / (n + 1)
    cuts = torch.arange(1, len(knots) - 1)
    return knots, cdf, float((knots[-1] - knots[0]) / len(knots)), cuts


def _pad(row: Tensor, m: int, value: float) -> Tensor:
    return torch.nn.functional.pad(row, (0, m - len(row)), value=value)
