r"""Does the model hand out its training records? The tail test for copies.

\(t\) is the distance at rank \(\max(5, 0.001\,n)\) among the \(n\) distances from held-out records to their nearest training record
(exact duplicates, which have a test of their own, left out: in a table with a few of them t would be 0, and a copy with a grain of
noise would pass).
A model that has learned the law behind the data comes that near no more often than held-out records do; one that copies does. Fisher's
exact test compares the counts at distance at most \(t\), a second one the counts of exact duplicates. Flagged at p < 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from .neighbours import nearest

FEWEST_HELD_OUT = 200
FLAG = 0.01
SHOWN = 8


@dataclass(frozen=True)
class Copies:
    """What the tail test found.

    Arguments:
        flag: Whether the model copies; None if there are too few held-out records to tell.
        p_value: The smaller p-value of the two tests.
        p_near: p-value of the counts at distance at most `threshold`.
        p_exact: p-value of the counts of exact duplicates.
        duplicates: How many generated records equal a training record.
        near: How many generated records are at distance at most `threshold`.
        threshold: The distance t.
        n: Number of generated records.
        held_out: Number of held-out records.
        pairs: The eight nearest pairs, `(generated index, training index, distance)`, nearest first.
        note: What a reader must know.
    """

    flag: bool | None
    p_value: float | None
    p_near: float | None
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


def tail_test(
    fake_distance: np.ndarray,
    held_out_distance: np.ndarray,
    *,
    fake_exact: np.ndarray | None = None,
    held_out_exact: np.ndarray | None = None,
    nearest_train: np.ndarray | None = None,
) -> Copies:
    """Compare distances to the nearest training record: generated against held-out.

    Arguments:
        fake_distance: `(m,)` distances of generated records to their nearest training record.
        held_out_distance: `(n,)` the same of held-out records.
        fake_exact: `(m,)` True where a generated record equals a training record; by default where the distance is 0.
        held_out_exact: `(n,)` the same of held-out records.
        nearest_train: `(m,)` which training record is nearest, for `pairs`.

    Example:
        >>> far = np.linspace(1, 2, 300)
        >>> tail_test(far, far).flag, tail_test(np.zeros(300), far).flag, tail_test(far, far[:50]).flag
        (False, True, None)
    """
    m, n = len(fake_distance), len(held_out_distance)
    fake_exact = fake_distance == 0 if fake_exact is None else fake_exact
    held_out_exact = held_out_distance == 0 if held_out_exact is None else held_out_exact
    index = np.zeros(m, np.int64) if nearest_train is None else nearest_train
    order = np.argsort(fake_distance, kind="stable")[:SHOWN]
    pairs = tuple((int(i), int(index[i]), float(fake_distance[i])) for i in order)
    duplicates = int(fake_exact.sum())
    if n < FEWEST_HELD_OUT or m == 0:
        note = f"too few to tell: {n} held-out records, {FEWEST_HELD_OUT} are needed"
        return Copies(None, None, None, None, duplicates, 0, None, m, n, pairs, note)
    rank = max(5, int(np.ceil(0.001 * n)))
    apart = np.sort(held_out_distance[~held_out_exact])
    threshold = float(apart[min(rank, len(apart)) - 1]) if len(apart) else 0.0
    near, held_near = int((fake_distance <= threshold).sum()), int((held_out_distance <= threshold).sum())
    p_near = _fisher(near, m, held_near, n)
    p_exact = _fisher(duplicates, m, int(held_out_exact.sum()), n)
    p = min(p_near, p_exact)
    expected = held_near / n * m
    note = (
        f"{near} of {m} generated records as near to training as {expected:.1f} would be by chance" if p < FLAG else ""
    )
    return Copies(p < FLAG, p, p_near, p_exact, duplicates, near, threshold, m, n, pairs, note)


def copies(train: np.ndarray, held_out: np.ndarray, fake: np.ndarray) -> Copies:
    """Run the tail test on records as vectors, where copies are close.

    Tables: numbers standardised, categories one-hot (space A). Images: pixels scaled to [0, 1], averaged down to at most
    64 x 64. Distances are Euclidean.

    Arguments:
        train: `(k, d)` training records.
        held_out: `(n, d)` held-out records.
        fake: `(m, d)` generated records.
    """
    index, distance = nearest(fake, train)
    return tail_test(distance, nearest(held_out, train)[1], nearest_train=index)


def _fisher(fake: int, m: int, held_out: int, n: int) -> float:
    table = [[fake, m - fake], [held_out, n - held_out]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)
