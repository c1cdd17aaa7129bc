"""Scales: inverse, derivative, and mass kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import kurtosis, norm

from genlearn.codecs.scales import Affine, Spline, fit_scale, scale_from_json
from genlearn.errors import Problem

RNG = np.random.default_rng(0)
SHAPES = {
    "normal": RNG.normal(3, 2, 3000),
    "lognormal": np.exp(RNG.normal(0, 1.5, 3000)),
    "cauchy": RNG.standard_cauchy(3000),
    "ties": RNG.choice([0.0, 1.0, 1.0, 2.0, 5.0, 9.0, 9.5], 3000) + (RNG.random(3000) < 0.3) * RNG.random(3000),
    "counts": RNG.geometric(0.01, 3000).astype(float),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["standard", "minmax", "quantile", "none", "auto"])
def test_inverse_and_derivative(shape: str, name: str) -> None:
    values = SHAPES[shape]
    scale = fit_scale(values, name)
    z, log_slope = scale.forward(values)
    spread = np.ptp(values)
    # Relative to the range, since the offset of an affine map costs digits of small values.
    assert np.abs(scale.inverse(z) - values).max() < 1e-10 * spread
    beyond = np.array([values.min() - spread, values.max() + spread])
    assert np.allclose(scale.inverse(scale.forward(beyond)[0]), beyond, rtol=1e-9)
    v = np.quantile(values, [0.03, 0.21, 0.5, 0.77, 0.98]) + 1e-4 * spread
    h = 1e-7 * spread
    slope = (scale.forward(v + h)[0] - scale.forward(v - h)[0]) / (2 * h)
    # A central difference has error h^2 g''' plus rounding eps / h: 1e-4 holds for both here.
    assert np.allclose(np.exp(scale.forward(v)[1]), slope, rtol=1e-4)
    assert np.isfinite(log_slope).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_quantile_scale_gives_normal_scores(shape: str) -> None:
    z = fit_scale(SHAPES[shape], "quantile").forward(SHAPES[shape])[0]
    # Ties keep the deviation below 1; the mean is that of mid-ranks.
    assert abs(z.mean()) < 0.1
    assert 0.8 < z.std() < 1.1
    if shape != "ties":
        assert abs(kurtosis(z)) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_mass_is_kept(shape: str) -> None:
    scale = fit_scale(SHAPES[shape], "quantile")
    assert isinstance(scale, Spline)

    def density(v: float) -> float:
        z, log_slope = scale.forward(np.array([v]))
        return float(np.exp(norm.logpdf(z) + log_slope)[0])

    ends = scale.inverse(np.array([-9.0, 9.0]))
    edges = [ends[0], *scale.v, ends[1]]
    mass = sum(quad(density, a, b, epsabs=1e-9)[0] for a, b in itertools.pairwise(edges))
    assert mass == pytest.approx(1, abs=1e-6)


def test_knots_keep_their_distance_so_that_densities_stay_finite() -> None:
    values = np.concatenate([np.full(900, 5.0), 5 + 1e-13 * np.arange(50), RNG.normal(5, 100, 50)])
    scale = fit_scale(values, "quantile")
    assert scale.forward(values)[1].max() < np.log(1e6)
    counts = fit_scale(SHAPES["counts"], "quantile", gap=1.0)
    assert isinstance(counts, Spline)
    assert np.diff(counts.v).min() >= 1
    assert len(counts.v) <= 64


def test_auto_looks_at_the_shape() -> None:
    assert isinstance(fit_scale(SHAPES["normal"]), Affine)
    assert isinstance(fit_scale(SHAPES["lognormal"]), Spline)
    assert isinstance(fit_scale(SHAPES["cauchy"]), Spline)
    assert isinstance(fit_scale(np.array([1.0, 2.0, 1e9])), Affine)


def test_unknown_scale() -> None:
    with pytest.raises(Problem, match='Did you mean "standard"'):
        fit_scale(np.arange(3.0), "standart")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e12, 1e12)),
    st.sampled_from(["standard", "minmax", "quantile", "auto"]),
)
def test_any_numbers_come_back(values: np.ndarray, name: str) -> None:
    scale = fit_scale(values, name)
    again = scale_from_json(scale.to_json())
    z, log_slope = scale.forward(values)
    assert again == scale
    assert np.isfinite(z).all()
    assert np.isfinite(log_slope).all()
    assert np.abs(again.inverse(z) - values).max() <= 1e-9 * max(np.abs(values).max(), 1e-300)
    order = np.argsort(values)
    assert (np.diff(z[order]) >= 0).all()
