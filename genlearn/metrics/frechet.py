r"""How far apart are two clouds of features, taken as Gaussians? The Frechet distance (as in FID)."""

from __future__ import annotations

import numpy as np

from .base import Result
from .intervals import FEWEST

ENOUGH = 2000


def frechet(real: np.ndarray, fake: np.ndarray) -> Result:
    r"""Return the squared Frechet distance of the two Gaussians with the samples' means and covariances; 0 = alike.

    \[ \|\mu_x - \mu_y\|^2 + \operatorname{tr}\left( C_x + C_y - 2 (C_x^{1/2} C_y C_x^{1/2})^{1/2} \right) \]

    It is biased upwards at small n, more for broad models than for narrow ones, so a perfect model can lose to a worse one: it
    carries no interval, decides nothing, and below 2000 records the note warns.

    Arguments:
        real: `(n, d)` features of real records.
        fake: `(m, d)` features of generated records.

    References:
        GANs Trained by a Two Time-Scale Update Rule (Heusel et al., 2017), https://arxiv.org/abs/1706.08500

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 2))
        >>> round(frechet(x, x + [3, 4]).value, 6)
        25.0
    """
    n = min(len(real), len(fake))
    if n < FEWEST:
        return Result.unavailable(f"fewer than {FEWEST} records", n)
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    shift = np.sum((x.mean(0) - y.mean(0)) ** 2)
    a, b = np.cov(x, rowvar=False, ddof=1), np.cov(y, rowvar=False, ddof=1)
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    value = max(0.0, float(shift + np.trace(a) + np.trace(b) - 2 * cross))
    return Result(value, n=n, note="" if n >= ENOUGH else f"biased at n={n}: do not compare below {ENOUGH} records")
