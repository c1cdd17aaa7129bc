r"""Convex problems over the simplex, whose solutions are sparse: \(\alpha \ge 0\), \(\sum_i \alpha_i = 1\)."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

PASSES = 100  # steps per weight after which minimisation gives up


def smo(gram: Array, linear: Array, start: Array, upper: float = 1.0, tol: float = 1e-2) -> tuple[Array, float]:
    r"""Return the \(\alpha\) on the simplex, at most u, that minimises \(\frac12 \alpha^\top G \alpha - b^\top \alpha\), and its gap.

    Sequential minimal optimisation: every step moves mass between the two weights that promise most, in closed form. With
    gradient \(g = G\alpha - b\), a solution has \(g_i \le g_j\) wherever \(\alpha_i > 0\) and \(\alpha_j < u\); the gap is by how
    much the worst pair violates this.

    Arguments:
        gram: \(G\), `(m, m)`, positive semidefinite.
        linear: \(b\), `(m,)`.
        start: A feasible `(m,)`.
        upper: \(u\), at least 1/m.
        tol: Largest gap, in units of the mean diagonal of G over m: how far a weight of mean size 1/m is off.

    References:
        Working Set Selection Using Second Order Information (Fan et al., 2005), https://jmlr.org/papers/v6/fan05a.html

    Example:
        >>> smo(np.eye(3), np.array([0.0, 1.0, 0.6]), np.full(3, 1 / 3))[0].round(6).tolist()
        [0.0, 0.7, 0.3]
    """
    m = len(linear)
    alpha = start.astype(np.float64).copy()
    diagonal = np.ascontiguousarray(gram.diagonal())
    gradient = gram @ alpha - linear
    enough = tol * float(diagonal.mean()) / m
    gap = np.inf
    for step in range(PASSES * m + 1000):
        if step % (10 * m) == 10 * m - 1:
            gradient = gram @ alpha - linear  # rounding does not pile up
        i = int(np.argmin(np.where(alpha < upper, gradient, np.inf)))
        rise = np.where(alpha > 0, gradient - gradient[i], -np.inf)
        gap = float(rise.max())
        if gap <= enough:
            break
        row = gram[i]
        bend = np.maximum(diagonal + diagonal[i] - 2 * row, 1e-12 * diagonal[i] + 1e-300)
        rise = np.maximum(rise, 0)
        j = int(np.argmax(rise * rise / bend))
        full = min(upper - alpha[i], alpha[j])
        moved = min(rise[j] / bend[j], full)
        alpha[i], alpha[j] = (upper if moved == upper - alpha[i] else alpha[i] + moved), alpha[j] - moved
        gradient += moved * (row - gram[j])
    return alpha, gap


def project(v: Array) -> Array:
    """Return the point of the simplex that lies closest to `v`.

    References:
        Efficient Projections onto the l1-Ball (Duchi et al., 2008), https://doi.org/10.1145/1390156.1390191

    Example:
        >>> project(np.array([0.9, 0.5, -1.0])).round(6).tolist()
        [0.7, 0.3, 0.0]
    """
    falling = np.sort(v)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - excess[np.nonzero(falling > excess)[0][-1]], 0)


def tube_regression(gram: Array, design: Array, target: Array, tube: float, passes: int = 500) -> Array:
    r"""Minimise \(\frac12 \alpha^\top G \alpha + \frac1{2E} \sum_e \max(0, |(A\alpha - b)_e| - \kappa)^2\) over the simplex.

    Accelerated projected gradients with restarts.

    Arguments:
        gram: \(G\), `(m, m)`, positive semidefinite.
        design: \(A\), `(E, m)`.
        target: \(b\), `(E,)`.
        tube: \(\kappa\), how far off costs nothing.
        passes: Most steps.

    References:
        A Fast Iterative Shrinkage-Thresholding Algorithm (Beck & Teboulle, 2009), https://doi.org/10.1137/080716542
        Adaptive Restart for Accelerated Gradient Schemes (O'Donoghue & Candes, 2015), https://doi.org/10.1007/s10208-013-9150-3

    Example:
        >>> tube_regression(1e-6 * np.eye(2), np.array([[1.0, 0.0]]), np.array([0.3]), 0.0).round(3).tolist()
        [0.3, 0.7]
    """
    m, count = gram.shape[0], len(target)

    def curved(v: Array) -> Array:
        return np.asarray(gram @ v + design.T @ (design @ v) / count)

    v = np.full(m, 1 / np.sqrt(m))
    for _ in range(30):
        v = curved(v)
        v /= np.linalg.norm(v)
    step = 1 / (1.02 * float(v @ curved(v)))
    alpha = ahead = np.full(m, 1 / m)
    momentum = 1.0
    for _ in range(passes):
        off = design @ ahead - target
        gradient = gram @ ahead + design.T @ (np.sign(off) * np.maximum(np.abs(off) - tube, 0)) / count
        following = project(ahead - step * gradient)
        if (ahead - following) @ (following - alpha) > 0:
            momentum = 1.0
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        moved = following - alpha
        alpha, ahead, momentum = following, following + (momentum - 1) / faster * moved, faster
        if np.abs(moved).sum() < 1e-7:
            break
    return alpha
