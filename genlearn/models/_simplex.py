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


def active_set(gram: Array, linear: Array, start: Array, tol: float = 1e-7) -> Array:
    r"""Return what `smo` returns, without a bound: fast where few weights are left, however alike the columns of G are.

    The minimum over the weights in use is a linear system; the one that promises most enters, those that fall to zero leave.

    Arguments:
        gram: \(G\), `(m, m)`, positive semidefinite.
        linear: \(b\), `(m,)`.
        start: A feasible `(m,)`.
        tol: By how much a weight that is not in use may promise to gain, relative to the largest promise at the start.

    References:
        Solving Least Squares Problems (Lawson & Hanson, 1974), chapter 23, https://doi.org/10.1137/1.9781611971217

    Example:
        >>> active_set(np.eye(3), np.array([0.0, 1.0, 0.6]), np.array([1.0, 0.0, 0.0])).round(6).tolist()
        [0.0, 0.7, 0.3]
    """
    alpha = start.copy()
    used = np.nonzero(alpha > 0)[0]
    first = 0.0
    for _ in range(PASSES * len(linear)):
        alpha, used = _descend(gram, linear, alpha, used)
        gradient = gram @ alpha - linear
        j = int(np.argmin(gradient))
        promise = float(alpha @ gradient - gradient[j])
        first = max(first, promise)
        if promise <= tol * first or j in used:
            break
        used = np.append(used, j)
    return alpha


def _descend(gram: Array, linear: Array, alpha: Array, used: Array) -> tuple[Array, Array]:
    """Return the minimum over the weights in use and which of them remain above zero."""
    while True:
        k = len(used)
        system = np.ones((k + 1, k + 1))
        system[:k, :k] = gram[np.ix_(used, used)]
        system[k, k] = 0
        system[np.arange(k), np.arange(k)] *= 1 + 1e-10  # copies of a record: any share of the weight will do
        best = np.linalg.solve(system, np.append(linear[used], 1.0))[:k]
        falling = best <= 0
        now = alpha[used]
        step = float(np.min(now[falling] / (now[falling] - best[falling] + 1e-300))) if falling.any() else 1.0
        alpha = np.zeros_like(alpha)
        now = now + step * (best - now)
        if not falling.any():
            alpha[used] = now
            return alpha, used
        now[falling & (now <= 1e-14)] = 0
        now[np.argmin(np.where(falling, now, np.inf))] = 0
        alpha[used] = now / now.sum()
        used = used[now > 0]


def tube_regression(gram: Array, design: Array, target: Array, tube: float, passes: int = 50) -> Array:
    r"""Return the \(\alpha\) on the simplex that fits \(A\alpha \approx b\) up to a tube.

    \(\min \frac12 \alpha^\top G \alpha + \frac1{2E} \sum_e \max(0, |(A\alpha - b)_e| - \kappa)^2\).
    What is beyond the tube is the distance to the closest value in it, so two steps take turns: the values t in the tube closest to
    \(A\alpha - b\), and the weights that fit \(b + t\) by least squares.

    Arguments:
        gram: \(G\), `(m, m)`, positive semidefinite.
        design: \(A\), `(E, m)`.
        target: \(b\), `(E,)`.
        tube: \(\kappa\), how far off costs nothing.
        passes: Most turns.

    Example:
        >>> tube_regression(1e-6 * np.eye(2), np.array([[1.0, 0.0]]), np.array([0.3]), 0.0).round(3).tolist()
        [0.3, 0.7]
    """
    m, count = gram.shape[0], len(target)
    bent = gram + design.T @ design / count
    alpha = np.zeros(m)
    alpha[np.argmin(0.5 * bent.diagonal() - design.T @ target / count)] = 1
    for _ in range(passes):
        inside = np.clip(design @ alpha - target, -tube, tube)
        following = active_set(bent, design.T @ (target + inside) / count, alpha)
        moved, alpha = float(np.abs(following - alpha).sum()), following
        if moved < 1e-4:
            break
    return alpha
