r"""Laws of whole numbers \(0..K-1\) as slots of \(2^{24}\): what a model believes, in integers that are the same in both directions.

A law says \(P(k' < k)\) in float64; the symbol k then owns the slots from \(k + \lfloor P(k' < k)\,(2^{24} - K) \rfloor\) up to
where the next one begins. So every symbol can be coded, however improbable, and the rounding costs less than \(K / 2^{24}\) nats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy.special import expit, ndtr, ndtri

BITS = 24
TOTAL = 2**BITS
BINS = 2**14  # of a latent dimension


class Law(ABC):
    """Independent laws of `size` symbols.

    Arguments:
        size: How many symbols.
        levels: How many values each may take: one number for all, or `(size,)`.
    """

    def __init__(self, size: int, levels: int | np.ndarray) -> None:
        self.size = size
        self.levels = np.broadcast_to(np.asarray(levels, np.int64), (size,))
        self._halvings = int(self.levels.max(initial=1)).bit_length()

    @abstractmethod
    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return P(symbol < k) of these rows, from 0 to 1 and never falling with k in `0..levels`."""

    def start(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return the first slot of the symbols k."""
        levels = self.levels[rows]
        share = np.where(k >= levels, 1.0, np.where(k <= 0, 0.0, self.below(k, rows)))
        return k + np.floor(share * (TOTAL - levels)).astype(np.int64)

    def find(self, slot: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the symbols that own the slots, their first slots and how many they own."""
        low, high = np.zeros(len(slot), np.int64), self.levels[rows].copy()
        for _ in range(self._halvings):
            middle = (low + high) >> 1
            above = self.start(middle, rows) <= slot
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        first = self.start(low, rows)
        return low, first, self.start(low + 1, rows) - first

    def bits(self, k: np.ndarray) -> float:
        """Return how many bits the symbols k take together."""
        rows = slice(0, self.size)
        return float(np.log2(TOTAL / (self.start(k + 1, rows) - self.start(k, rows))).sum())


class Uniform(Law):
    """All of a power of two of symbols alike."""

    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return k / levels."""
        return k / self.levels[rows]

    def start(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return the first slot, without any rounding."""
        return k * (TOTAL // self.levels[rows])


class Table(Law):
    """Laws given by their probabilities.

    Arguments:
        p: `(size, K)` probabilities, 0 beyond the levels of a row.
        levels: Values of each symbol; None for K.
    """

    def __init__(self, p: np.ndarray, levels: np.ndarray | None = None) -> None:
        super().__init__(len(p), p.shape[1] if levels is None else levels)
        total = np.cumsum(p, 1, dtype=np.float64)
        self._upto = np.concatenate([np.zeros((len(p), 1)), total / total[:, -1:]], 1)
        self._rows = np.arange(len(p))

    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return sums of probabilities."""
        return self._upto[self._rows[rows], np.clip(k, 0, self._upto.shape[1] - 1)]


class Coin(Law):
    """Zeros and ones.

    Arguments:
        logit: `(size,)` log odds of 1.
    """

    def __init__(self, logit: np.ndarray) -> None:
        super().__init__(len(logit), 2)
        self._zero = expit(-np.asarray(logit, np.float64))

    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return the probability of 0."""
        return self._zero[rows]


class Logistic(Law):
    r"""Levels of a lattice under a discretised logistic, \(P(k' < k) = \sigma((k - \frac12 - \mathrm{loc}) / s)\).

    Arguments:
        loc: `(size,)` centres, in levels.
        scale: `(size,)`, in levels.
        levels: How many levels.
    """

    def __init__(self, loc: np.ndarray, scale: np.ndarray, levels: int | np.ndarray) -> None:
        super().__init__(len(loc), levels)
        self._loc, self._inverse = loc + 0.5, 1 / scale

    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return the logistic function."""
        return expit((k - self._loc[rows]) * self._inverse[rows])


class Mixture(Law):
    """Levels of a lattice under mixtures of discretised logistics.

    Arguments:
        weight: `(size, K)`, which sum to one.
        loc: `(size, K)` centres, in levels.
        scale: `(size, K)`, in levels.
        levels: How many levels.
    """

    def __init__(self, weight: np.ndarray, loc: np.ndarray, scale: np.ndarray, levels: int | np.ndarray) -> None:
        super().__init__(len(loc), levels)
        self._weight, self._loc, self._inverse = weight, loc + 0.5, 1 / scale

    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return the weighted sum of logistic functions, part by part: in the same order whatever the number of rows."""
        total = np.zeros(len(k))
        for weight, loc, inverse in zip(self._weight[rows].T, self._loc[rows].T, self._inverse[rows].T, strict=True):
            total += weight * expit((k - loc) * inverse)
        return np.minimum(total, 1.0)


class Normal(Law):
    """Cells of a grid under normal laws.

    Arguments:
        mean: `(size,)`.
        sd: `(size,)`.
        edges: `(levels + 1,)` lower edges of the cells and the last upper one: one grid for all, or `(size,)` steps of a grid whose
            middle cell lies about 0.
        levels: Cells, where `edges` are steps.
    """

    def __init__(self, mean: np.ndarray, sd: np.ndarray, edges: np.ndarray, levels: int | None = None) -> None:
        super().__init__(len(mean), levels or len(edges) - 1)
        self._mean, self._inverse, self._edges, self._even = mean, 1 / sd, edges, levels is not None

    def below(self, k: np.ndarray, rows: slice) -> np.ndarray:
        """Return the normal distribution function at the lower edges of cells."""
        edge = (k - self.levels[rows] // 2 - 0.5) * self._edges[rows] if self._even else self._edges[k]
        return ndtr((edge - self._mean[rows]) * self._inverse[rows])


def logistic_mass(k: np.ndarray, loc: np.ndarray, scale: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the probabilities of levels under discretised logistics whose edge levels hold the tails."""
    above = np.where(k >= levels - 1, 1.0, expit((k + 0.5 - loc) / scale))
    return above - np.where(k <= 0, 0.0, expit((k - 0.5 - loc) / scale))


def quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Return edges and middles of `BINS` cells that a standard normal fills alike."""
    return ndtri(np.arange(BINS + 1) / BINS), ndtri((np.arange(BINS) + 0.5) / BINS)
