"""How probable are held-out records under the model?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .base import Result
from .intervals import FEWEST, block_ids, jackknife


def nats(log_probs: np.ndarray) -> Result:
    r"""Return the mean log density of held-out records, nats per record, with its 95 % interval.

    \[ \frac1n \sum_i \log p(x_i) \]

    The interval is the delete-block jackknife's, which for a mean agrees with the standard error over blocks.

    Arguments:
        log_probs: `(n,)` log densities in nats, as `model.log_prob` returns them. A record that the model calls impossible
            (-inf) makes the mean -inf; the note says how many there are and what the mean of the others is.

    Example:
        >>> nats(np.full(40, -1.5))
        Result(-1.5 [-1.5 -1.5], n=40)
        >>> nats(np.array([-1.0, -np.inf])).value
        -inf
    """
    x = np.asarray(log_probs, dtype=np.float64)
    n = len(x)
    if n == 0:
        return Result.unavailable("no records")
    if broken := int((np.isnan(x) | (x == np.inf)).sum()):
        return Result.unavailable(f"{broken} of {n} log densities are not finite numbers", n)
    if impossible := int((x == -np.inf).sum()):
        others = f"; the others have a mean of {x[x > -np.inf].mean():.4g}" if impossible < n else ""
        return Result(-math.inf, -math.inf, -math.inf, n, f"{impossible} of {n} records are impossible{others}")
    if n < FEWEST:
        return Result(float(x.mean()), n=n, note=f"fewer than {FEWEST} records: no interval")
    block = block_ids(n)
    sizes, sums = np.bincount(block), np.bincount(block, x)
    left_out = (x.sum() - sums) / (n - sizes)
    return jackknife(float(x.mean()), left_out, n=n)


def bits_per_dim(score: Result, dims: int) -> Result:
    r"""Turn nats per record into bits per dimension, \(-\text{score} / (D \ln 2)\); lower is better.

    Arguments:
        score: What `nats` returned.
        dims: \(D\), for an image height x width x channels.

    Example:
        >>> bits_per_dim(Result(-543.4, -550.0, -540.0, 100), 784).value
        0.9999...
    """
    if score.value is None:
        return score
    scale = -1.0 / (dims * math.log(2.0))
    low, high = (None if end is None else scale * end for end in (score.high, score.low))
    return replace(score, value=scale * score.value, low=low, high=high, blocks=None)
