"""Distances between many records in little memory: float32 matrix products in chunks."""

from __future__ import annotations

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


def nearest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for every row of `x` the index of its nearest row of `y` and the distance, recomputed exactly in float64.

    Example:
        >>> index, distance = nearest(np.array([[0.9], [5.0]]), np.array([[1.0], [5.0]]))
        >>> index.tolist(), distance.round(6).tolist()
        ([0, 1], [0.1, 0.0])
    """
    x, y = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(y, np.float32)
    best = np.full(len(x), np.inf, np.float32)
    index = np.zeros(len(x), np.int64)
    step = max(1, CHUNK // max(len(x), 1))
    for start in range(0, len(y), step):
        squared = squared_distances(x, y[start : start + step])
        winner = squared.argmin(1)
        value = squared[np.arange(len(x)), winner]
        better = value < best
        best[better], index[better] = value[better], winner[better] + start
    exact = np.empty(len(x))
    for start in range(0, len(x), 1024):
        rows = slice(start, start + 1024)
        exact[rows] = np.linalg.norm(x[rows].astype(np.float64) - y[index[rows]], axis=1)
    # Rounding may prefer a neighbour of a twin to the twin itself.
    twin = twins(x, y)
    return np.where(twin >= 0, twin, index), np.where(twin >= 0, 0.0, exact)


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
