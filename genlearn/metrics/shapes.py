r"""Does every column of a table, taken alone, look right?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .base import Result
from .schema import Schema


def ks_complement(real: np.ndarray, fake: np.ndarray) -> float:
    r"""Return \(1 - \sup_t |F_x(t) - F_y(t)|\) of two number columns; missing cells count as one value below all others.

    Without missing cells this is SDMetrics' KSComplement and 1 - `scipy.stats.ks_2samp(...).statistic`.

    Example:
        >>> ks_complement(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        0.5
    """
    x, y = (np.sort(np.where(np.isnan(v), -np.inf, v)) for v in (real, fake))
    at = np.concatenate([x, y])
    gap = np.searchsorted(x, at, "right") / len(x) - np.searchsorted(y, at, "right") / len(y)
    return float(1 - np.abs(gap).max())


def tv_complement(real: np.ndarray, fake: np.ndarray) -> float:
    r"""Return \(1 - \frac12 \sum_k |p_k - q_k|\) of the level frequencies of two columns of level numbers.

    SDMetrics' TVComplement, with missing as a level of its own.

    Example:
        >>> tv_complement(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]))
        0.75
    """
    width = int(max(real.max(), fake.max())) + 1
    p, q = (np.bincount(v, minlength=width) / len(v) for v in (real, fake))
    return float(1 - np.abs(p - q).sum() / 2)


def column_shapes(schema: Schema, real: pd.DataFrame, fake: pd.DataFrame) -> dict[str, float]:
    """Return the shape score of every judged column, 1 = same distribution."""
    scores = {}
    for name in schema.columns:
        if name in schema.numbers:
            scores[name] = ks_complement(schema.number(real, name), schema.number(fake, name))
        else:
            scores[name] = tv_complement(schema.level(real, name), schema.level(fake, name))
    return scores


def shapes(schema: Schema, real: pd.DataFrame, fake: pd.DataFrame) -> Result:
    """Return the mean of `column_shapes`; independent columns reach the top, so never read it alone.

    Arguments:
        schema: The table's columns.
        real: Real rows.
        fake: Generated rows.

    References:
        SDMetrics, Column Shapes, https://docs.sdv.dev/sdmetrics/reports/quality-report/whats-included
    """
    scores = column_shapes(schema, real, fake)
    n = min(len(real), len(fake))
    if not scores or n == 0:
        return Result.unavailable("no columns to judge", n)
    worst = min(scores, key=lambda name: scores[name])
    return Result(float(np.mean(list(scores.values()))), n=n, note=f"lowest: {worst} {scores[worst]:.2f}")
