r"""Is every kind of real record generated (coverage), and do generated records lie where real ones are dense (density)?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Result
from .intervals import BLOCKS, FEWEST, half_samples, jackknife, widened
from .neighbours import squared_distances

NEIGHBOURS = 5
LARGEST = 1000
WIDER = 1.2


def coverage_null(n: int, m: int, k: int = NEIGHBOURS) -> float:
    r"""Return the expected coverage of a perfect model, \(1 - \prod_{i=1}^{k} \frac{n-i}{n+m-i}\), in any dimension.

    Arguments:
        n: Number of real records.
        m: Number of generated records.
        k: Neighbours.

    Example:
        >>> round(coverage_null(100_000, 100_000), 3)
        0.969
    """
    i = np.arange(1, k + 1)
    return float(1 - np.prod((n - i) / (n + m - i)))


def coverage(real: np.ndarray, fake: np.ndarray) -> Result:
    r"""Return the share of real records with a generated one nearer than their 5th real neighbour.

    \[ \frac1n \sum_i \mathbb 1\left[ \min_j \|x_i - y_j\| < r_5(x_i) \right] \]

    averaged over disjoint equal blocks of at most 1000 records, so that the number means the same at every sample size.
    Ties are broken at random. The note holds what a perfect model reaches; above
    that lies a model that is slightly too narrow, not a better one: read `density` beside it. The interval is the delete-block
    jackknife's.

    Arguments:
        real: `(n, d)` features of real records, in random order.
        fake: `(m, d)` features of generated records, in random order.

    References:
        Reliable Fidelity and Diversity Metrics (Naeem et al., 2020), https://arxiv.org/abs/2002.09797

    Example:
        >>> x = np.random.default_rng(0).normal(size=(80, 2))
        >>> coverage(x[:40], x[40:] + 99).value
        0.0
    """
    return _averaged(real, fake, _coverage, high=1.0, null=coverage_null)


def density(real: np.ndarray, fake: np.ndarray) -> Result:
    r"""Return how many 5-neighbour balls of real records a generated record lies in, divided by 5; about 1 for a perfect model.

    \[ \frac{1}{5m} \sum_j \sum_i \mathbb 1\left[ \|x_i - y_j\| < r_5(x_i) \right] \]

    averaged over the same blocks as `coverage`. Above 1: the model stays in the middle of the data.

    References:
        Reliable Fidelity and Diversity Metrics (Naeem et al., 2020), https://arxiv.org/abs/2002.09797
    """
    return _averaged(real, fake, _density, high=np.inf, null=lambda n, m: n / (n - 1))


def _averaged(
    real: np.ndarray,
    fake: np.ndarray,
    measure: Callable[[np.ndarray, np.ndarray], float],
    *,
    high: float,
    null: Callable[[int, int], float],
) -> Result:
    n, m = len(real), len(fake)
    if min(n, m) < FEWEST:
        return Result.unavailable(f"fewer than {FEWEST} records", min(n, m))
    parts = -(-max(n, m) // LARGEST)
    values, left_out, nulls = [], [], []
    for part in range(parts):
        x, y = real[part::parts], fake[part::parts]
        centre = x.mean(0)
        own, cross = squared_distances(x - centre, x - centre), squared_distances(x - centre, y - centre)
        _break_ties(own, cross)
        np.fill_diagonal(own, np.inf)
        left, right = np.arange(len(x)) % BLOCKS, np.arange(len(y)) % BLOCKS

        def half(kept: np.ndarray, own=own, cross=cross, left=left, right=right) -> float:
            rows = np.flatnonzero(kept[left])
            return measure(own[np.ix_(rows, rows)], cross[np.ix_(rows, np.flatnonzero(kept[right]))])

        values.append(measure(own, cross))
        nulls.append(null(len(x), len(y)))
        left_out.append(half_samples(values[-1], half))
    note = f"a perfect model reaches {np.mean(nulls):.3f}"
    blocks = widened(np.mean(left_out, 0), WIDER)
    return jackknife(float(np.mean(values)), blocks, n=min(n, m), low=0.0, high=high, note=note)


def _break_ties(own: np.ndarray, cross: np.ndarray) -> None:
    """Put equal distances in random order, in place: in tables of categories a perfect model would else miss its null."""
    rng = np.random.default_rng(0)
    size = np.float32(1e-5) * own.mean()
    for distances in (own, cross):
        distances += size * rng.random(distances.shape, dtype=np.float32)


def _radii(own: np.ndarray) -> np.ndarray:
    k = min(NEIGHBOURS, len(own) - 1)
    return np.partition(own, k - 1, axis=1)[:, k - 1]


def _coverage(own: np.ndarray, cross: np.ndarray) -> float:
    return float(np.mean(cross.min(1) < _radii(own)))


def _density(own: np.ndarray, cross: np.ndarray) -> float:
    return float((cross < _radii(own)[:, None]).sum() / (min(NEIGHBOURS, len(own) - 1) * cross.shape[1]))
