r"""Do generated records vary as much as real ones?"""

from __future__ import annotations

import numpy as np

from .base import Result
from .intervals import FEWEST, block_ids, jackknife


def variance_ratio(real: np.ndarray, fake: np.ndarray) -> Result:
    r"""Return the total variance of generated features over that of real ones; 1 = as varied, below: too narrow.

    \[ \operatorname{tr} C_y / \operatorname{tr} C_x \]

    Classifiers and kernels need many records to see that all is a little too narrow; a sum over all columns sees it at once. It
    sees nothing else. The interval is the delete-block jackknife's.

    Arguments:
        real: `(n, d)` features of real records, in random order.
        fake: `(m, d)` features of generated records, in random order.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> round(variance_ratio(x, 0.5 * x).value, 6)
        0.25
    """
    n = min(len(real), len(fake))
    if n < FEWEST:
        return Result.unavailable(f"fewer than {FEWEST} records", n)
    (top, tops), (bottom, bottoms) = _variances(fake), _variances(real)
    if min(bottom, bottoms.min()) <= 0:
        return Result.unavailable("real records do not vary", n)
    blocks = min(len(tops), len(bottoms))
    return jackknife(top / bottom, tops[:blocks] / bottoms[:blocks], n=n, low=0.0)


def _variances(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the total variance of all records, and `(blocks,)` without one block each."""
    x = np.asarray(x, np.float64) - np.mean(x, 0, dtype=np.float64)
    block = block_ids(len(x))
    sums = np.stack([x[block == k].sum(0) for k in range(block.max() + 1)])
    squares, sizes = np.bincount(block, np.einsum("ij,ij->i", x, x)), np.bincount(block)
    left = len(x) - sizes
    without = (squares.sum() - squares) / left - np.square((sums.sum(0) - sums) / left[:, None]).sum(1)
    return float(squares.sum() / len(x)), without
