r"""Does every kind of record come in its share?"""

from __future__ import annotations

import numpy as np

from .base import Result
from .intervals import FEWEST

MOST, EACH = 40, 25  # groups at most; records of each side that a group should hold


def group_shares(real: np.ndarray, fake: np.ndarray, *, seed: int = 0) -> Result:
    r"""Return how far generated records leave the shares of the groups that real and generated ones form together; 0 is best.

    k-means cuts the pooled features into at most 40 groups, blind to who is who. With shares \(p_k\) of real and \(q_k\) of generated
    records, the distance and its unbiased estimate from n of each are

    \[ \phi^2 = \sum_k \frac{(p_k - q_k)^2}{p_k + q_k}, \qquad \hat\phi^2 = \frac{\chi^2 - (K - 1)}{n}, \]

    since \(n\) times the plug-in value is Pearson's \(\chi^2\) of two samples. The interval holds every
    \(\phi^2\) under which the estimate lies within 1.96 deviations, by the variance of a noncentral \(\chi^2\),
    \(2(K - 1) + 4 n \phi^2\). A group that is left out adds its whole share: 0.1 where one kind of ten is never drawn.

    Arguments:
        real: `(n, d)` features of real records.
        fake: `(m, d)` features of generated records.
        seed: Seed of k-means.

    References:
        On GANs and GMMs (Richardson & Weiss, 2018), https://arxiv.org/abs/1805.12462: the same comparison, bin by bin.

    Example:
        >>> x = np.concatenate([np.random.default_rng(0).normal(size=(300, 2)) + 9 * i for i in range(3)])
        >>> round(group_shares(x, np.concatenate([x[:300], x[:600]])).value, 1)
        0.4
    """
    from sklearn.cluster import KMeans

    n = min(len(real), len(fake))
    if n < max(FEWEST, 2 * EACH):
        return Result.unavailable(f"fewer than {max(FEWEST, 2 * EACH)} records", n)
    pooled = np.concatenate([real[:n], fake[:n]]).astype(np.float64)
    if not np.ptp(pooled, axis=0).any():
        return Result.unavailable("the records do not vary", n)
    k = min(MOST, n // EACH, len(np.unique(pooled, axis=0)))
    group = KMeans(k, n_init=1, random_state=seed).fit_predict(pooled)
    a, b = np.bincount(group[:n], minlength=k), np.bincount(group[n:], minlength=k)
    held = a + b > 0
    chi = float((np.square(a - b)[held] / (a + b)[held]).sum())
    freedom = int(held.sum()) - 1
    value, z = (chi - freedom) / n, 1.96
    middle = value + 2 * z**2 / n  # where (value - t)^2 = z^2 (2 (K - 1) + 4 n t) / n^2
    square = middle**2 - value**2 + 2 * freedom * z**2 / n**2  # below 0 for shares more equal than chance makes them
    half = float(np.sqrt(max(square, 0.0)))
    return Result(value, min(middle - half, value), max(middle + half, 0.0), n)
