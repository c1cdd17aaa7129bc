r"""Uncertainty of metrics: the delete-block jackknife, and differences between models judged on the same real records.

Records of both sides are dealt into \(B = 20\) blocks. With \(\theta_{(-b)}\) the metric without block \(b\) of either side,

\[ v = \frac{B-1}{B} \sum_b (\theta_{(-b)} - \bar\theta)^2, \qquad \theta \pm t_{B-1,\,0.975} \sqrt v. \]

Blocks are left out, never repeated: resampling with replacement would plant exact copies, which nearest neighbours and
unbiased kernels take for structure (a bootstrap moves the coverage of a perfect sample from 0.97 to 0.82).

What m records contribute only together, the jackknife counts m times (Efron & Stein): rightly for a mean, twice for a kernel's
pairs, four times for five nearest neighbours. `kid` takes some of that out; `coverage` uses balanced half samples instead:
\(d_r\), half the difference of the metric between the two halves of split \(r\), and \(v\) the mean of \(d_r^2\), which is the
jackknife's \(v\) for a mean, and right for whatever has a variance proportional to \(1/n\).

References:
    The jackknife estimate of variance (Efron & Stein, 1981), https://doi.org/10.1214/aos/1176345462
    Pseudo-replication: half samples (McCarthy, 1969), https://doi.org/10.2307/1402116
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy import stats

from .base import Result

BLOCKS = 20
FEWEST = 10


def block_ids(n: int, blocks: int = BLOCKS) -> np.ndarray:
    """Deal `n` records into equal blocks, one after the other: `(n,)` integers.

    Example:
        >>> block_ids(5, 3).tolist()
        [0, 1, 2, 0, 1]
    """
    return np.arange(n) % min(blocks, max(n, 1))


def jackknife_variance(left_out: np.ndarray) -> float:
    """Return the variance that leave-one-block-out values imply.

    Example:
        >>> x = np.array([1.0, 2.0, 4.0])  # leaving one out of a mean gives its usual squared standard error
        >>> bool(np.isclose(jackknife_variance((x.sum() - x) / 2), x.var(ddof=1) / 3))
        True
    """
    count = len(left_out)
    return float((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2))


def widened(left_out: np.ndarray, factor: float) -> np.ndarray:
    """Return leave-one-out values whose spread, and with it the interval's width, is `factor` times as large."""
    return left_out.mean() + factor * (left_out - left_out.mean())


def half_samples(value: float, measure: Callable[[np.ndarray], float]) -> np.ndarray:
    r"""Return the 20 leave-one-out values that stand for balanced half samples.

    Nineteen splits of the blocks into halves, every two of which agree on half of the blocks, are the rows \(h_r\) of a Hadamard
    matrix. \(\theta - \frac1{19} \sum_r h_{rb}\, d_r\) has the mean of \(d_r^2\) for its jackknife variance. Given as leave-one-out
    values, half samples can be averaged and subtracted between models like all others; for a mean they are the same.

    Arguments:
        value: The metric on all records.
        measure: The metric on the records of the blocks where `(20,)` is True.

    Example:
        >>> x = np.random.default_rng(0).normal(size=20)
        >>> halves = half_samples(x.mean(), lambda kept: x[kept].mean())
        >>> bool(np.allclose(halves, (x.sum() - x) / 19))
        True
    """
    splits = _splits()
    d = np.array([(measure(split > 0) - measure(split < 0)) / 2 for split in splits])
    return value - splits.T @ d / len(splits)


@cache
def _splits() -> np.ndarray:
    """Return `(19, 20)` signs, each row with ten of both, rows orthogonal: Paley's construction by the squares modulo 19."""
    order = BLOCKS - 1
    squares = {k * k % order for k in range(1, order)}
    sign = np.array([-1.0, *(1.0 if k in squares else -1.0 for k in range(1, order))])
    k = np.arange(order)
    return np.column_stack([np.ones(order), sign[(k - k[:, None]) % order]])


def jackknife(
    value: float,
    left_out: np.ndarray,
    *,
    n: int,
    low: float = -math.inf,
    high: float = math.inf,
    note: str = "",
) -> Result:
    """Return the value with its 95 % jackknife interval, clipped to the range [`low`, `high`] that it can take.

    Where a share is 0 or 1 in every block the jackknife sees no spread: the rule of three, 3 / n, stands in.

    Arguments:
        value: The metric on all records.
        left_out: `(blocks,)` values without one block each.
        n: Number of records.
    """
    left_out = np.asarray(left_out, dtype=np.float64)
    if len(left_out) < 2 or not np.isfinite(left_out).all():
        return Result(float(value), n=n, note=note)
    half = stats.t.ppf(0.975, len(left_out) - 1) * math.sqrt(jackknife_variance(left_out))
    if half < 1e-12 and (low, high) == (0.0, 1.0):
        half = 3.0 / n
    return Result(float(value), float(max(low, value - half)), float(min(high, value + half)), n, note, left_out)


def mean_of(results: Sequence[Result], *, low: float = -math.inf, high: float = math.inf) -> Result:
    """Return the mean of results that share their blocks (two feature spaces over the same records), with its interval.

    Example:
        >>> a = jackknife(0.5, np.array([0.4, 0.6]), n=2)
        >>> b = jackknife(0.7, np.array([0.8, 0.6]), n=2)
        >>> mean_of([a, b])
        Result(0.6 [0.6 0.6], n=2)
    """
    missing = next((r for r in results if r.value is None), None)
    if missing is not None:
        return missing
    value = float(np.mean([r.value for r in results if r.value is not None]))
    blocks = [r.blocks for r in results if r.blocks is not None]
    if len(blocks) < len(results) or len({len(b) for b in blocks}) > 1:
        return Result(value, n=results[0].n)
    return jackknife(value, np.mean(blocks, 0), n=results[0].n, low=low, high=high)


def paired_difference(a: Sequence[Result], b: Sequence[Result]) -> Result:
    r"""Return the mean of `a` minus the mean of `b`, with its 95 % interval over training seeds and record blocks.

    Each sequence holds one model's results, one per training seed, all against the same real records: block by block the
    luck of the real records is the same for both models and cancels in the difference. The variance is

    \[ v = v_\text{blocks} + s_a^2 / k_a + s_b^2 / k_b \]

    with \(v_\text{blocks}\) the jackknife variance of the difference of means, and \(s^2\) the variance between the
    seeds of a model (left out for a single seed: then the note says so). The quantile is Student's with
    Welch-Satterthwaite degrees of freedom.

    References:
        The generalization of Student's problem (Welch, 1947), https://doi.org/10.1093/biomet/34.1-2.28

    Example:
        >>> one = jackknife(0.6, np.array([0.59, 0.61, 0.60]), n=30)
        >>> two = jackknife(0.5, np.array([0.49, 0.51, 0.50]), n=30)
        >>> paired_difference([one], [two])
        Result(0.1 [0.1 0.1], n=30, one training seed each: its luck is not in the interval)
    """
    if not a or not b:
        return Result.unavailable("nothing to compare")
    first = next((r for r in (*a, *b) if r.value is None or r.blocks is None), None)
    if first is not None:
        return Result.unavailable(first.note or "no interval to compare by", first.n)
    if len({len(r.blocks) for r in (*a, *b) if r.blocks is not None}) > 1:
        return Result.unavailable("the results come from different numbers of records", a[0].n)
    value = _values(a).mean() - _values(b).mean()
    left_out = _blocks(a) - _blocks(b)
    parts = [(jackknife_variance(left_out), len(left_out) - 1)]
    parts += [(_values(s).var(ddof=1) / len(s), len(s) - 1) for s in (a, b) if len(s) > 1]
    variance = sum(v for v, _ in parts)
    degrees = variance**2 / max(sum(v**2 / df for v, df in parts), 1e-300) if variance > 0 else len(left_out) - 1
    half = stats.t.ppf(0.975, max(degrees, 1.0)) * math.sqrt(variance)
    note = "one training seed each: its luck is not in the interval" if len(a) == len(b) == 1 else ""
    return Result(float(value), float(value - half), float(value + half), min(r.n for r in (*a, *b)), note, left_out)


def _values(results: Sequence[Result]) -> np.ndarray:
    return np.array([r.value for r in results], dtype=np.float64)


def _blocks(results: Sequence[Result]) -> np.ndarray:
    return np.mean([r.blocks for r in results if r.blocks is not None], axis=0)
