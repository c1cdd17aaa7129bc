r"""Two-dimensional toys whose density is known, so that a model's score can be compared with the truth.

| name | density \(p(x)\) |
|---|---|
| gaussians | \(\frac18\sum_k N(x; 2(\cos\frac{\pi k}{4}, \sin\frac{\pi k}{4}), 0.2^2 I)\) |
| rings | \(\frac13\sum_{R=1,2,3} \frac{1}{2\pi s^2} e^{-(r^2 + R^2)/2s^2} I_0(rR/s^2)\), \(s = 0.1\): circles under normal noise |
| moons | two half circles under normal noise, \(\frac{1}{2\pi}\sum_m \int_0^\pi N(x; c_m(t), 0.1^2 I)\,dt\), by quadrature |
| pinwheel | five stretched normals, turned by an angle that grows with the radius; turning keeps volume, so the density is theirs |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import Problem, did_you_mean

TOYS = ("gaussians", "moons", "pinwheel", "rings")
_ARMS, _SWIRL, _ALONG, _ACROSS, _CENTRE = 5, 0.8, 0.35, 0.09, 1.3
_NOISE = 0.1
_RADII = np.array([1.0, 2.0, 3.0])
_NODES = 128  # the integrand is a bump 0.1 wide on an arc of length pi: Gauss-Legendre with 128 nodes errs below 1e-12


def toy_sample(name: str, n: int, seed: int = 0) -> np.ndarray:
    """Draw `(n, 2)` points of a toy distribution.

    Arguments:
        name: `gaussians`, `moons`, `pinwheel` or `rings`.
        n: How many.
        seed: Same seed, same points.

    Errors:
        Problem: If there is no such toy.

    Example:
        >>> toy_sample("moons", 5).shape
        (5, 2)
    """
    rng = np.random.default_rng(seed)
    if _known(name) == "gaussians":
        angle = np.pi / 4 * rng.integers(8, size=n)
        return 2 * _circle(angle) + 0.2 * rng.normal(size=(n, 2))
    if name == "rings":
        radius = rng.choice(_RADII, size=n)
        return radius[:, None] * _circle(rng.uniform(0, 2 * np.pi, n)) + _NOISE * rng.normal(size=(n, 2))
    if name == "moons":
        centre = _moon(rng.uniform(0, np.pi, n), rng.integers(2, size=n))
        return centre + _NOISE * rng.normal(size=(n, 2))
    arm = 2 * np.pi / _ARMS * rng.integers(_ARMS, size=n)
    straight = np.stack([_CENTRE + _ALONG * rng.normal(size=n), _ACROSS * rng.normal(size=n)], 1)
    return _turn(straight, arm + _SWIRL * np.hypot(*straight.T))


def toy_log_density(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the log density of a toy, in nats: a function from points `(n, 2)` to `(n,)`.

    Example:
        >>> density = toy_log_density("gaussians")
        >>> round(float(density(np.array([[2.0, 0.0]]))[0]), 3)
        -0.698
    """
    return {"gaussians": _gaussians, "rings": _rings, "moons": _moons, "pinwheel": _pinwheel}[_known(name)]


def _known(name: str) -> str:
    if name not in TOYS:
        raise Problem(f'no toy named "{name}".{did_you_mean(name, TOYS)} Known: {", ".join(TOYS)}.')
    return name


def _gaussians(x: np.ndarray) -> np.ndarray:
    return _blurred(x, 2 * _circle(np.pi / 4 * np.arange(8)), 0.2)


def _rings(x: np.ndarray) -> np.ndarray:
    from scipy.special import ive, logsumexp

    radius, variance = np.hypot(*np.asarray(x, float).T)[:, None], _NOISE**2
    # I0(z) = ive(0, z) e^z, which joins the square: -(r - R)^2 / 2 s^2
    terms = -((radius - _RADII) ** 2) / (2 * variance) + np.log(ive(0, radius * _RADII / variance))
    return logsumexp(terms, axis=1) - np.log(len(_RADII) * 2 * np.pi * variance)


def _moons(x: np.ndarray) -> np.ndarray:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    angle = np.pi / 2 * (nodes + 1)
    centres = np.concatenate([_moon(angle, np.full(_NODES, m)) for m in (0, 1)])
    return _blurred(x, centres, _NOISE, np.tile(weights / 4, 2))


def _pinwheel(x: np.ndarray) -> np.ndarray:
    from scipy.special import logsumexp

    x = np.asarray(x, float)
    swirl = _SWIRL * np.hypot(*x.T)
    arms = [_turn(x, -(2 * np.pi / _ARMS * k) - swirl) for k in range(_ARMS)]
    terms = [-(((a[:, 0] - _CENTRE) / _ALONG) ** 2 + (a[:, 1] / _ACROSS) ** 2) / 2 for a in arms]
    return logsumexp(terms, axis=0) - np.log(_ARMS * 2 * np.pi * _ALONG * _ACROSS)


def _blurred(x: np.ndarray, centres: np.ndarray, noise: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the log density of centres under normal noise; equal weights unless given."""
    from scipy.special import logsumexp

    x = np.asarray(x, float)
    weights = np.full(len(centres), 1 / len(centres)) if weights is None else weights
    out = np.empty(len(x))
    for start in range(0, len(x), 4096):  # bounds the memory of points times centres
        square = ((x[start : start + 4096, None] - centres) ** 2).sum(2)
        out[start : start + 4096] = logsumexp(-square / (2 * noise**2), axis=1, b=weights)
    return out - np.log(2 * np.pi * noise**2)


def _circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _moon(angle: np.ndarray, which: np.ndarray) -> np.ndarray:
    upper = _circle(angle)
    return np.where(np.asarray(which)[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)


def _turn(x: np.ndarray, angle: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], 1)
