r"""Scales: strictly increasing maps \(z = g(v)\) from a column's units to code units, with \(\log g'(v)\) and the inverse."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import ndtr, ndtri

from ..errors import Problem, did_you_mean
from .stored import rebuild

ScaleName = Literal["auto", "standard", "minmax", "quantile", "none"]

KNOTS = 64
SKEWED, HEAVY = 1.5, 6.0  # beyond this skewness or excess kurtosis "auto" takes the quantile scale


@dataclass(frozen=True)
class Affine:
    r"""\(z = (v - \mathrm{loc}) / \mathrm{scale}\)."""

    loc: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"a scale must be above 0, not {self.scale}")

    def forward(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `z` and `log g'(v)`."""
        return (v - self.loc) / self.scale, np.full_like(v, -np.log(self.scale))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return `v` with `g(v) = z`."""
        return self.loc + self.scale * z

    @property
    def unit(self) -> float:
        """Length of one data unit in code units, about."""
        return 1.0 / self.scale

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {"map": "affine", **asdict(self)}


@dataclass(frozen=True)
class Spline:
    r"""Monotone rational-quadratic spline through knots \((v_k, z_k)\) with slopes \(d_k\), and linear tails.

    On \([v_k, v_{k+1}]\), with \(t = (v - v_k)/(v_{k+1} - v_k)\) and \(s = (z_{k+1} - z_k)/(v_{k+1} - v_k)\),

    \[ g(v) = z_k + \frac{(z_{k+1} - z_k)\,(s t^2 + d_k t (1 - t))}{s + (d_{k+1} + d_k - 2 s)\, t (1 - t)}. \]

    It is continuously differentiable, so densities have no steps, and its inverse is the root of a quadratic.

    References:
        Piecewise rational quadratic interpolation to monotonic data (Gregory & Delbourgo, 1982);
        Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    v: tuple[float, ...]
    z: tuple[float, ...]
    slopes: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("v", "z", "slopes"):
            object.__setattr__(self, f"_{name}", np.array(getattr(self, name), dtype=np.float64))
        if len(self.v) < 2 or not len(self.v) == len(self.z) == len(self.slopes):
            raise ValueError("a spline needs a place, a value and a slope for each of its knots, two at least")
        if not all(0 < b - a < np.inf for knots in (self.v, self.z) for a, b in itertools.pairwise(knots)):
            raise ValueError("the knots of a spline must increase")
        if not min(self.slopes) > 0:
            raise ValueError("the slopes of a spline must be above 0")

    def forward(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `z` and `log g'(v)`."""
        ev, ez, d = self._v, self._z, self._slopes  # type: ignore[attr-defined]
        k = np.clip(np.searchsorted(ev, v, side="right") - 1, 0, len(ev) - 2)
        width, height = np.diff(ev)[k], np.diff(ez)[k]
        s, d0, d1 = height / width, d[k], d[k + 1]
        t = np.clip((v - ev[k]) / width, 0, 1)
        bend = t * (1 - t)
        below = s + (d1 + d0 - 2 * s) * bend
        z = ez[k] + height * (s * t * t + d0 * bend) / below
        log_slope = 2 * np.log(s) + np.log(d1 * t * t + 2 * s * bend + d0 * (1 - t) ** 2) - 2 * np.log(below)
        z = z + np.minimum(v - ev[0], 0) * d[0] + np.maximum(v - ev[-1], 0) * d[-1]
        return z, log_slope

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Return `v` with `g(v) = z`."""
        ev, ez, d = self._v, self._z, self._slopes  # type: ignore[attr-defined]
        k = np.clip(np.searchsorted(ez, z, side="right") - 1, 0, len(ez) - 2)
        width, height = np.diff(ev)[k], np.diff(ez)[k]
        s, d0, d1 = height / width, d[k], d[k + 1]
        y = np.clip(z - ez[k], 0, height)
        bend = d1 + d0 - 2 * s
        a, b, c = height * (s - d0) + y * bend, height * d0 - y * bend, -s * y
        # The root in [0, 1], in the form that does not cancel where a is near 0.
        t = 2 * c / (-b - np.sqrt(np.maximum(b * b - 4 * a * c, 0)))
        v = ev[k] + width * t
        return v + np.minimum(z - ez[0], 0) / d[0] + np.maximum(z - ez[-1], 0) / d[-1]

    @property
    def unit(self) -> float:
        """Length of one data unit in code units, about."""
        return (self.z[-1] - self.z[0]) / (self.v[-1] - self.v[0])

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {"map": "spline", "v": list(self.v), "z": list(self.z), "slopes": list(self.slopes)}


Scale = Affine | Spline


def scale_from_json(spec: dict[str, Any]) -> Scale:
    """Rebuild a scale."""
    maps: dict[str, Any] = {"affine": Affine, "spline": Spline}
    return rebuild(maps[spec["map"]], {k: v for k, v in spec.items() if k != "map"})


def fit_scale(values: np.ndarray, name: str = "auto", gap: float = 0.0) -> Scale:
    """Learn a scale from values.

    Arguments:
        values: `(n,)` finite numbers.
        name: `standard` (mean 0, deviation 1), `minmax` (to -1..1), `quantile` (to normal scores), `none`, or `auto`: quantile
            where the values are skewed or heavy-tailed, else standard.
        gap: Least distance of two knots of the quantile scale, in data units.

    Example:
        >>> fit_scale(np.array([1.0, 3.0, 5.0]), "minmax")
        Affine(loc=3.0, scale=2.0)
    """
    if name not in get_args(ScaleName):
        known = ", ".join(get_args(ScaleName))
        raise Problem(f'no scale named "{name}".{did_you_mean(str(name), get_args(ScaleName))} Known: {known}.')
    low, high = float(values.min()), float(values.max())
    if name == "none" or low == high:
        return Affine() if name == "none" else Affine(low, 1.0)
    if name == "minmax":
        return Affine(low / 2 + high / 2, high / 2 - low / 2)
    if name == "quantile" or (name == "auto" and _is_odd(values)):
        return _fit_spline(values, gap) or _standard(values)
    return _standard(values)


def _standard(values: np.ndarray) -> Affine:
    size = np.abs(values).max()
    unit = values / size  # the squares of values near the largest float would overflow
    return Affine(float(unit.mean() * size), float(unit.std() * size) or 1.0)


def _is_odd(values: np.ndarray) -> bool:
    scale = _standard(values)
    z = (values - scale.loc) / scale.scale
    return bool(abs(np.mean(z**3)) > SKEWED or np.mean(z**4) - 3 > HEAVY)


def _fit_spline(values: np.ndarray, gap: float) -> Spline | None:
    """Return the quantile scale, or None where the values have too few distinct places."""
    ordered, n = np.sort(values), len(values)
    grid = np.linspace(ndtri(0.5 / n), ndtri(1 - 0.5 / n), KNOTS)
    places = np.unique(ordered[np.clip((ndtr(grid) * n).astype(int), 0, n - 1)])
    # Knots closer than this would make the density of a tied value grow without bound.
    gap = max(gap, 1e-3 * float(np.subtract(*np.quantile(ordered, [0.9, 0.1]))), 1e-9 * float(np.ptp(ordered)))
    v = [float(places[0])]
    for place in places[1:]:
        if place - v[-1] >= gap:
            v.append(float(place))
    if len(v) < 4:
        return None
    below, until = np.searchsorted(ordered, v, "left"), np.searchsorted(ordered, v, "right")
    z = ndtri((below + until) / (2 * n))
    secants = np.diff(z) / np.diff(v)
    inner = np.sqrt(secants[:-1]) * np.sqrt(secants[1:])  # their product may underflow
    slopes = np.concatenate([secants[:1], inner, secants[-1:]])
    return Spline(tuple(v), tuple(z.tolist()), tuple(slopes.tolist()))
