"""What a mixture is fitted to: records standardised as they are read, and how many components they bear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import Problem
from ..layout import Layout
from ._levels import Levels
from ._rows import Columns, Rows, blocks, moments

LARGE = 1_000_000  # values in all above which chunks are float32 (their sums stay float64)


@dataclass
class Task:
    """Records to be fitted, wherever they lie.

    Arguments:
        numbers: Columns that hold numbers.
        levels: The discrete columns.
        weights: `(n,)` how much every record counts; None for 1 each.
        count: Records that count at all.
        centre: Mean of every number, `(d,)`.
        scale: Standard deviation of every number, `(d,)`.
        shown: Share of the records that show it, `(d,)`.
        base: Overall level frequencies, `(width,)`.
        target: Place of the label among the discrete columns, or None.
        dtype: Precision of chunks.
    """

    numbers: list[int]
    levels: Levels
    weights: Tensor | None
    count: int
    centre: Tensor
    scale: Tensor
    shown: Tensor
    base: Tensor
    target: int | None
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor, layout: Layout, weights: Tensor | None) -> Task:
        """Look at all records once or twice.

        Errors:
            Problem: If no record counts.
        """
        numbers, levels = layout.columns("real"), Levels(layout)
        count = len(x) if weights is None else int((weights > 0).sum())
        if not count:
            raise Problem("all weights are 0. Give one record at least a weight above 0.")
        centre, scale, shown = moments(Columns(x, numbers), weights)
        frequencies = torch.full((levels.width,), 0.5, dtype=torch.float64)
        for block in blocks(len(x), x.shape[1]) if levels.width else []:
            part = x[block][:, levels.columns]
            if weights is None:
                frequencies += levels.count(part)
            else:
                frequencies += weights[block] @ levels.one_hot(part)
        labels = {layout.where[f.name].start for f in layout.fields if f.role == "target"}
        target = next((i for i, j in enumerate(levels.columns) if j in labels), None)
        mass = len(x) if weights is None else float(weights.sum())
        base = levels.share(frequencies[None])[0] if levels.width else frequencies
        dtype = torch.float32 if x.numel() > LARGE else torch.float64
        return cls(numbers, levels, weights, count, centre, scale, shown / mass, base, target, dtype)

    def rows(self, x: Tensor, weights: Tensor | None = None) -> Rows:
        """Return records as EM visits them."""
        numbers = Columns(x, self.numbers, self.centre, self.scale)
        return Rows(numbers, Columns(x, self.levels.columns), self.levels, self.dtype, weights)

    def shift(self, log_det: Tensor | None) -> float:
        """Return what turns a mean score of standardised numbers into one of records, nats."""
        shift = -float(self.shown @ self.scale.log())
        if log_det is None:
            return shift
        return shift + float(log_det.mean() if self.weights is None else self.weights @ log_det / self.weights.sum())


def best_count(judge: Callable[[int], float], most: int) -> int:
    """Return the count of the highest score: powers of two until two in a row are worse, then eighths around the best.

    Arguments:
        judge: Gives the score of a count.
        most: Highest count to try.

    Example:
        >>> best_count(lambda k: -abs(k - 11), 100)
        11
    """
    scores: dict[int, float] = {}

    def best() -> int:
        return max(scores, key=lambda k: scores[k])

    k = 1
    while k <= most and k <= 4 * (best() if scores else 1):
        scores[k] = judge(k)
        k *= 2
    for parts, steps in ((4, (-1, 1, 2)), (8, (-1, 1))):
        for k in [best() + s * max(1, best() // parts) for s in steps]:
            if 1 <= k <= most and k not in scores:
                scores[k] = judge(k)
    return best()
