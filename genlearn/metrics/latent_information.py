r"""What a latent space holds of the records: the mean KL split in two.

$$\mathbb{E}_x\, \mathrm{KL}(q(z \mid x) \,\|\, p(z)) = I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z))$$

with \(q(z) = \frac1n \sum_i q(z \mid x_i)\). The first part is what the latent vectors tell about the record; the second is how far all
of them together are from the prior.

References:
    ELBO surgery (Hoffman & Johnson, 2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .base import Result
from .nats import nats

DRAWS = 4  # latent vectors per record
MOST = 2000  # records: work grows with their square
SATURATED = 0.9  # of log n: beyond this an information cannot be seen


class Information(NamedTuple):
    """The parts of the mean KL, nats per record.

    Arguments:
        mutual: \\(I_q(x; z)\\), at most log n of n records.
        aggregate: \\(\\mathrm{KL}(q(z) \\| N(0, I))\\).
    """

    mutual: Result
    aggregate: Result


def information(mean: np.ndarray, std: np.ndarray, *, seed: int = 0) -> Information:
    r"""Return mutual information and the KL of the aggregated posterior from the standard normal prior.

    Arguments:
        mean: `(n, d)` posterior means of held-out records; the first 2,000 are used.
        std: `(n, d)` posterior standard deviations, above 0.
        seed: Seed of the draws.

    Example:
        >>> far = np.array([[-50.0], [50.0]])
        >>> information(far, np.ones((2, 1))).mutual.value  # log 2
        0.693...
    """
    mean, std = np.asarray(mean[:MOST], np.float64), np.asarray(std[:MOST], np.float64)
    n, rng = len(mean), np.random.default_rng((seed, len(mean), 0x1F))
    told, apart = np.zeros(n), np.zeros(n)
    for _ in range(DRAWS):
        eps = rng.standard_normal(mean.shape)
        z = mean + std * eps
        own = -(0.5 * eps**2 + np.log(std) + 0.5 * math.log(2 * math.pi)).sum(1)
        together = _log_aggregate(z, mean, std)
        told += (own - together) / DRAWS
        apart += (together + (0.5 * z**2 + 0.5 * math.log(2 * math.pi)).sum(1)) / DRAWS
    limit = math.log(n)
    note = f"{n:,} records show at most log n = {limit:.1f}" if told.mean() > SATURATED * limit else ""
    mutual, aggregate = nats(told), nats(apart)
    return Information(_noted(mutual, note), _noted(aggregate, "an upper estimate: " + note if note else ""))


def _noted(result: Result, note: str) -> Result:
    return Result(result.value, result.low, result.high, result.n, note or result.note, result.blocks)


def _log_aggregate(z: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return \\(\\log q(z)\\) `(m,)` of `(m, d)` by matrix products, with all posteriors as one mixture."""
    inverse = std**-2
    distance = z**2 @ inverse.T - 2 * z @ (mean * inverse).T + (mean**2 * inverse).sum(1)
    each = -0.5 * distance - np.log(std).sum(1) - 0.5 * mean.shape[1] * math.log(2 * math.pi)
    top = each.max(1, keepdims=True)
    return (top + np.log(np.exp(each - top).mean(1, keepdims=True)))[:, 0]
