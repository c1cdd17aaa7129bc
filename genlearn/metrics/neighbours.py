"""Distances between many records in little memory: float32 matrix products in chunks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CHUNK = 2**24  # entries of one block of a distance matrix: 64 MiB


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Return `(n, m)` float32 squared Euclidean distances, \(\|x\|^2 + \|y\|^2 - 2 x \cdot y\), never below 0.

    Rounding is relative to the norms: centre the records first, and recompute what must be exact.

    Example:
        >>> squared_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
        [[25.0]]
    """
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    out = x @ y.T
    out *= -2
    out += np.einsum("ij,ij->i", x, x)[:, None]
    out += np.einsum("ij,ij->i", y, y)[None]
    return np.maximum(out, 0, out=out)


class Nearest(NamedTuple):
    """The nearest record of every record.

    Arguments:
        row: `(n,)` its number.
        distance: `(n,)` how far it is, exactly 0 for an equal one.
        ratio: `(n,)` that distance over the distance of the second nearest, in [0, 1]: near 0 for a copy wherever it lies, about 1
            for a record between others; 1 where both are 0.
    """

    row: np.ndarray
    distance: np.ndarray
    ratio: np.ndarray


def nearest(x: np.ndarray, y: np.ndarray) -> Nearest:
    """Return for every row of `x` its nearest row of `y`; distances are recomputed exactly in float64.

    Example:
        >>> found = nearest(np.array([[0.9], [5.0]]), np.array([[1.0], [5.0], [9.0]]))
        >>> found.row.tolist(), found.distance.round(6).tolist(), found.ratio.round(3).tolist()
        ([0, 1], [0.1, 0.0], [0.024, 0.0])
    """
    x, y = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.float32)
    rows = np.arange(len(x))
    best, index = np.full((2, len(x)), np.inf, np.float32), np.zeros((2, len(x)), np.int64)
    step = max(1, CHUNK // max(len(x), 1))
    for start in range(0, len(y), step):
        squared = squared_distances(x, y[start : start + step])
        for _ in range(min(2, squared.shape[1])):
            winner = squared.argmin(1)
            value = squared[rows, winner]
            squared[rows, winner] = np.inf
            first, second = value < best[0], (value < best[1]) & (value >= best[0])
            best[1, first], index[1, first] = best[0, first], index[0, first]
            best[0, first], index[0, first] = value[first], winner[first] + start
            best[1, second], index[1, second] = value[second], winner[second] + start
    distance = np.stack([_distances(x, y, i) for i in index])
    # Rounding may prefer a neighbour of a twin to the twin itself; the one that it preferred then is the second.
    twin = twins(x, y)
    displaced = (twin >= 0) & (distance[0] > 0)
    distance[1, displaced] = distance[0, displaced]
    distance[0, twin >= 0] = 0.0
    low, high = distance.min(0), distance.max(0) if len(y) > 1 else np.full(len(x), np.inf)
    ratio = np.divide(low, high, out=np.ones_like(low), where=high > 0)
    return Nearest(np.where(twin >= 0, twin, index[0]), low, ratio)


def _distances(x: np.ndarray, y: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return `(n,)` distances of rows of `x` to the rows `index` of `y`, in float64, a thousand at a time."""
    out = np.empty(len(x))
    for start in range(0, len(x), 1024):
        rows = slice(start, start + 1024)
        out[rows] = np.linalg.norm(x[rows].astype(np.float64) - y[index[rows]], axis=1)
    return out


def twins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return for every row of `x` the index of the first equal row of `y`, -1 where there is none.

    Example:
        >>> twins(np.array([[1.0], [2.0]]), np.array([[2.0], [2.0]])).tolist()
        [-1, 0]
    """
    first: dict[int, int] = {}
    for k, row in enumerate(y):
        first.setdefault(hash(row.tobytes()), k)
    found = np.array([first.get(hash(row.tobytes()), -1) for row in x], dtype=np.int64)
    return np.where((found >= 0) & (x == y[found]).all(1), found, -1)
