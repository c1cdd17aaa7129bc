r"""Does the model hand out its training records? The tail test for copies.

A model that has learned the law behind the data comes as near to training records as held-out records do, and no more often; one
that copies comes nearer. Nearness is read twice: as the distance to the nearest training record, and as its ratio to the distance
of the second nearest, which finds copies with noise where records lie apart, however dense the data are elsewhere (among
handwritten digits a noisy copy of an eight is farther from its origin than a new one from the next one).

Each reading is asked at two thresholds: below every held-out record, and at the held-out record of rank \(\max(5, 0.001\,n)\)
(exact duplicates, which have a test of their own, left out: in a table with a few of them the threshold would be 0, and a copy
with a grain of noise would pass). Fisher's exact test compares the counts of generated and of held-out records, a last one the
counts of exact duplicates. Flagged where any p is below 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from .neighbours import Nearest, nearest

FEWEST_HELD_OUT = 200
FLAG = 0.01
SHOWN = 8


@dataclass(frozen=True)
class Copies:
    """What the tail test found.

    Arguments:
        flag: Whether the model copies; None if there are too few held-out records to tell.
        p_value: The smallest p-value of the tests.
        p_near: p-value of the counts at small distances, the smaller one of both thresholds.
        p_ratio: The same for ratios of distances.
        p_exact: p-value of the counts of exact duplicates.
        duplicates: How many generated records equal a training record.
        near: How many generated records are at distance at most `threshold`.
        threshold: The distance of the held-out record of rank \\(\\max(5, 0.001\\,n)\\).
        n: Number of generated records.
        held_out: Number of held-out records.
        pairs: The eight nearest pairs, `(generated index, training index, distance)`, nearest first.
        note: What a reader must know.
    """

    flag: bool | None
    p_value: float | None
    p_near: float | None
    p_ratio: float | None
    p_exact: float | None
    duplicates: int
    near: int
    threshold: float | None
    n: int
    held_out: int
    pairs: tuple[tuple[int, int, float], ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**vars(self), "pairs": [list(p) for p in self.pairs]}


@dataclass(frozen=True)
class _Tail:
    """Counts of generated and held-out records up to a threshold, and how probable so many generated ones are by chance."""

    p: float
    fake: int
    held_out: int
    threshold: float


def tail_test(fake: Nearest, held_out: Nearest) -> Copies:
    """Compare nearness to the training records: generated against held-out.

    Arguments:
        fake: The nearest training records of `m` generated records.
        held_out: Those of `n` held-out records.

    Example:
        >>> def at(distance, ratio):
        ...     return Nearest(np.zeros(len(distance), int), distance, ratio)
        >>> real = at(np.linspace(1, 2, 300), np.linspace(0.5, 1, 300))
        >>> tail_test(real, real).flag, tail_test(at(0 * real.distance, 0 * real.ratio), real).flag
        (False, True)
    """
    m, n = len(fake.distance), len(held_out.distance)
    order = np.argsort(fake.distance, kind="stable")[:SHOWN]
    pairs = tuple((int(i), int(fake.row[i]), float(fake.distance[i])) for i in order)
    twins, expected = int((fake.distance == 0).sum()), int((held_out.distance == 0).sum())
    if n < FEWEST_HELD_OUT or m == 0:
        note = f"too few to tell: {n} held-out records, {FEWEST_HELD_OUT} are needed"
        return Copies(None, None, None, None, None, twins, 0, None, m, n, pairs, note)
    apart = held_out.distance > 0
    near = _tails(fake.distance, held_out.distance, apart)
    ratio = _tails(fake.ratio, held_out.ratio, apart)
    exact = _fisher(twins, m, expected, n)
    tail = min((*near, *ratio), key=lambda t: t.p)
    p = min(tail.p, exact)
    note = ""
    if p < FLAG and exact <= tail.p:
        note = f"{twins} of {m} generated records equal a training record, where {expected / n * m:.1f} would by chance"
    elif p < FLAG:
        how = "as near to training" if tail in near else "as much nearer to one training record than to any other"
        note = f"{tail.fake} of {m} generated records {how} as {tail.held_out / n * m:.1f} would be by chance"
    p_near, p_ratio = (min(t.p for t in tails) for tails in (near, ratio))
    return Copies(
        p < FLAG, p, p_near, p_ratio, exact, twins, near[1].fake, near[1].threshold, m, n, pairs, note
    )  # fmt: skip


def copies(train: np.ndarray, held_out: np.ndarray, fake: np.ndarray) -> Copies:
    """Run the tail test on records as vectors, where copies are close.

    Tables: numbers standardised, categories one-hot (space A). Images: pixels scaled to [0, 1], averaged down to at most
    64 x 64. Distances are Euclidean.

    Arguments:
        train: `(k, d)` training records.
        held_out: `(n, d)` held-out records.
        fake: `(m, d)` generated records.
    """
    return tail_test(nearest(fake, train), nearest(held_out, train))


def _tails(fake: np.ndarray, held_out: np.ndarray, apart: np.ndarray) -> tuple[_Tail, _Tail]:
    """Return the counts below every held-out record that is no duplicate, and up to the one of rank max(5, 0.001 n)."""
    m, n = len(fake), len(held_out)
    known = np.sort(held_out[apart]) if apart.any() else np.zeros(1)
    first, later = known[0], known[min(max(5, int(np.ceil(0.001 * n))), len(known)) - 1]
    below = int((fake < first).sum()), int((held_out < first).sum())
    up_to = int((fake <= later).sum()), int((held_out <= later).sum())
    return (
        _Tail(_fisher(below[0], m, below[1], n), *below, float(first)),
        _Tail(_fisher(up_to[0], m, up_to[1], n), *up_to, float(later)),
    )


def _fisher(fake: int, m: int, held_out: int, n: int) -> float:
    table = [[fake, m - fake], [held_out, n - held_out]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)
