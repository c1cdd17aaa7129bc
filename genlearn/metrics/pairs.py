r"""Do the columns of a table go together as they should?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .base import Result
from .schema import Schema

BINS = 10
MOST = 100


@dataclass(frozen=True)
class Trends:
    """How columns go together, pair by pair.

    Arguments:
        names: The columns.
        real: `(d, d)` association in real rows: Pearson correlation of two numbers, else Cramer's V.
        fake: `(d, d)` the same in generated rows.
        scores: `(d, d)` similarity of the two, 1 = alike; 1 on the diagonal.
    """

    names: tuple[str, ...]
    real: np.ndarray
    fake: np.ndarray
    scores: np.ndarray


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's correlation over rows where both are known; 0 where one of them does not vary.

    Example:
        >>> round(correlation(np.array([1.0, 2.0, 3.0, np.nan]), np.array([2.0, 4.0, 6.0, 0.0])), 9)
        1.0
    """
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2:
        return 0.0
    a, b = x[both] - x[both].mean(), y[both] - y[both].mean()
    norm = np.sqrt((a @ a) * (b @ b))
    tiny = 1e-12 * both.sum() * max(np.abs(x[both]).max(), 1e-300) * max(np.abs(y[both]).max(), 1e-300)
    return float(a @ b / norm) if norm > tiny else 0.0


def contingency(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the joint frequencies of two columns of level numbers, `shape`, summing to 1.

    Example:
        >>> contingency(np.array([0, 1]), np.array([1, 1]), (2, 2)).tolist()
        [[0.0, 0.5], [0.0, 0.5]]
    """
    return np.bincount(x * shape[1] + y, minlength=shape[0] * shape[1]).reshape(shape) / len(x)


def cramers_v(joint: np.ndarray) -> float:
    r"""Return Cramer's \(V = \sqrt{\chi^2 / (n \min(r - 1, c - 1))}\) of joint frequencies, 0 = independent, 1 = determined.

    Example:
        >>> round(cramers_v(np.array([[0.5, 0.0], [0.0, 0.5]])), 9)
        1.0
    """
    joint = joint[joint.sum(1) > 0][:, joint.sum(0) > 0]
    if min(joint.shape) < 2:
        return 0.0
    expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float(np.sqrt(((joint - expected) ** 2 / expected).sum() / (min(joint.shape) - 1)))


def pair_trends(schema: Schema, real: pd.DataFrame, fake: pd.DataFrame, *, seed: int = 0) -> Trends:
    r"""Return associations and their similarity for every pair of varying columns (100 drawn ones of a wider table).

    Two numbers: \(1 - |\rho_x - \rho_y| / 2\). Else, with numbers cut into ten equal bins of the real range:
    \(1 - \frac12 \sum_{kl} |p_{kl} - q_{kl}|\) over the joint table. SDMetrics' definitions; missing is a level of its own.
    """
    names = schema.varying
    if len(names) > MOST:
        drawn = np.sort(np.random.default_rng(seed).choice(len(names), MOST, replace=False))
        names = tuple(names[j] for j in drawn)
    sides = [(_numbers(schema, f, names), {c: _binned(schema, real, f, c) for c in names}) for f in (real, fake)]
    out = np.ones((3, len(names), len(names)))
    for i, a in enumerate(names):
        for j, b in enumerate(names[:i]):
            if a in schema.numbers and b in schema.numbers:
                first, second = (correlation(numbers[a], numbers[b]) for numbers, _ in sides)
                values = first, second, 1 - abs(first - second) / 2
            else:
                shape = tuple(int(max(bins[c].max() for _, bins in sides)) + 1 for c in (a, b))
                p, q = (contingency(bins[a], bins[b], (shape[0], shape[1])) for _, bins in sides)
                values = cramers_v(p), cramers_v(q), float(1 - np.abs(p - q).sum() / 2)
            out[:, i, j] = out[:, j, i] = values
    return Trends(names, *out)


def pairs(schema: Schema, real: pd.DataFrame, fake: pd.DataFrame, *, seed: int = 0) -> Result:
    """Return the mean pair score of `pair_trends` over all pairs of columns, 1 = alike.

    References:
        SDMetrics, Column Pair Trends, https://docs.sdv.dev/sdmetrics/reports/quality-report/whats-included
    """
    return mean_score(pair_trends(schema, real, fake, seed=seed), min(len(real), len(fake)))


def mean_score(trends: Trends, n: int) -> Result:
    """Return the mean of the pair scores, and which pair is lowest."""
    d = len(trends.names)
    if d < 2:
        return Result.unavailable("fewer than two columns that vary", n)
    scores = trends.scores[np.triu_indices(d, 1)]
    i, j = np.unravel_index(trends.scores.argmin(), (d, d))
    note = f"lowest: {trends.names[min(i, j)]} with {trends.names[max(i, j)]} {trends.scores[i, j]:.2f}"
    return Result(float(scores.mean()), n=n, note=note)


def _numbers(schema: Schema, frame: pd.DataFrame, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {c: schema.number(frame, c) for c in names if c in schema.numbers}


def _binned(schema: Schema, real: pd.DataFrame, frame: pd.DataFrame, name: str) -> np.ndarray:
    if name not in schema.numbers:
        return schema.level(frame, name)
    known = schema.number(real, name)
    known = known[np.isfinite(known)]
    x = schema.number(frame, name)
    edges = np.histogram_bin_edges(known, BINS) if len(known) else np.array([0.0])
    return np.where(np.isnan(x), len(edges) + 1, np.digitize(x, edges))
