"""Theorems of independent columns: masses, tails, quantiles and tables in closed form."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest

from genlearn.codecs.units import Units
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Code, Field, Layout
from genlearn.models.marginals import Histograms, Marginals, histogram


class Stand:
    """A codec that only holds a layout: the code is the data."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.units = layout, Units()


def fitted(layout: Layout, x: np.ndarray) -> Marginals:
    model = Marginals(random_state=0)
    model.seed_, model.codec_ = 0, Stand(layout)
    model._fit(Code(torch.as_tensor(x, dtype=torch.float64)), None)
    return model


def log_prob(model: Marginals, x: np.ndarray) -> np.ndarray:
    return model._log_prob(Code(torch.as_tensor(x, dtype=torch.float64))).numpy()


REAL = Layout((Field("x", "real"),))


@pytest.mark.parametrize("values", [
    np.random.default_rng(0).normal(size=500), np.random.default_rng(0).lognormal(0, 2, 500), np.zeros(20),
    np.array([3.0]), np.repeat([1.0, 2.0, 7.0], 30),
])  # fmt: skip
def test_histogram_has_mass_one(values: np.ndarray) -> None:
    """Bins by their widths, tails by the closed form: density times width, summed."""
    row = histogram(torch.as_tensor(values), 50)
    shapes = Histograms(row[None, :51], row[None, 51:-1], row[-1:])
    edges = shapes.edges[0].unique()
    middle = (edges[1:] + edges[:-1]) / 2
    inner = float((shapes.log_density(middle[:, None])[:, 0].exp() * edges.diff()).sum())
    outer = shapes.edges[0, [0, -1]] + torch.tensor([-1e-12, 1e-12])
    tails = float((shapes.log_density(outer[:, None])[:, 0].exp() * shapes.scale).sum())
    assert inner + tails == pytest.approx(1, abs=1e-9)
    assert tails == pytest.approx(1 / (len(values) + 1), rel=1e-6)  # half a record in either tail


def test_bins_match_numpy() -> None:
    x = np.random.default_rng(0).normal(size=400)
    model = fitted(REAL, x[:, None])
    edges = model._histograms.edges[0].unique().numpy()
    counts = np.histogram(x, edges)[0]
    mass = (1 - 1 / 401) * (counts + 0.5) / (400 + 0.5 * len(counts))
    middle = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(np.exp(log_prob(model, middle[:, None])), mass / np.diff(edges), rtol=1e-9)
    assert counts.max() - counts.min() <= 2  # quantile bins hold equally many, up to rounding at the cuts


def test_quantiles_undo_the_distribution_function() -> None:
    x = np.random.default_rng(0).normal(size=(300, 2)) * [1, 50]
    model = fitted(Layout((Field("a", "real"), Field("b", "real"))), x)
    shapes = model._histograms
    u = torch.linspace(0.0002, 0.9998, 701, dtype=torch.float64)[:, None].expand(-1, 2)
    np.testing.assert_allclose(shapes.cdf(shapes.quantile(u)), u, atol=1e-9)
    drawn = model._sample(5000, torch.Generator().manual_seed(0), None).x
    assert kstest(shapes.cdf(drawn)[:, 0].numpy(), "uniform").pvalue > 1e-3
    values = shapes.quantile(u)[:, 0].numpy()
    mean = np.interp(np.linspace(0, 1, 200_001)[1:-1], u[:, 0].numpy(), values).mean()
    assert float(shapes.mean()[0]) == pytest.approx(mean, abs=0.01)


def test_levels_have_add_half_estimates_and_open_lattices_geometric_tails() -> None:
    layout = Layout(
        (Field("n", "ordered", levels=4, loc=1.0, scale=3.0, bounded=False), Field("c", "category", levels=3))
    )
    x = np.c_[[0.0, 1, 1, 3], [0.0, 0, 2, 2]]
    model = fitted(layout, x)
    n = np.arange(-80, 120, dtype=float)
    rows = np.array([[a, b] for a in n for b in (0.0, 1.0, 2.0)])
    p = np.exp(log_prob(model, rows)).reshape(-1, 3)
    assert p.sum() == pytest.approx(1, abs=1e-8)  # (3/4)^80 is left out on either side
    np.testing.assert_allclose(p.sum(0), np.array([2.5, 0.5, 2.5]) / 5.5, rtol=1e-8)
    by_level = p.sum(1)
    assert by_level[n == 1] / by_level[n == 0] == pytest.approx(2.5 / 1.5)
    assert by_level[n == 5] / by_level[n == 4] == pytest.approx(3 / 4)
    drawn = model._sample(20_000, torch.Generator().manual_seed(0), None).x[:, 0]
    outside = float(((drawn < 0) | (drawn > 3)).double().mean())
    assert outside == pytest.approx(0.2, abs=5 * math.sqrt(0.16 / 20_000))  # two tails of 0.5 / 5


def test_gated_numbers_have_the_density_of_those_present() -> None:
    layout = Layout((Field("v?", "category", levels=2, absent=1), Field("v", "real", gate="v?")))
    rng = np.random.default_rng(0)
    gate = (rng.random(200) < 0.4).astype(float)
    x = np.c_[gate, np.where(gate == 0, rng.normal(size=200), np.nan)]
    model = fitted(layout, x)
    shut = np.exp(log_prob(model, np.array([[1.0, np.nan]])))[0]
    assert shut == pytest.approx((gate.sum() + 0.5) / 201)
    edges = model._histograms.edges[0]
    grid = np.linspace(-40, 40, 400_001)
    mass = np.exp(log_prob(model, np.c_[np.zeros_like(grid), grid])).sum() * (grid[1] - grid[0])
    assert mass + shut == pytest.approx(1, abs=1e-3)  # steps of the density at the edges, and tails beyond the grid
    assert float(edges[-1] - edges[0]) < 7
    drawn = model._sample(500, torch.Generator().manual_seed(0), None).x
    assert torch.equal(torch.isnan(drawn[:, 1]), drawn[:, 0] == 1)


def frame(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "kind": rng.choice(["a", "b", None], n, p=[0.6, 0.3, 0.1]),
            "x": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "age": rng.integers(20, 90, n),
        }
    )


def test_conditions_and_imputation() -> None:
    data = frame(300)
    model = Marginals(random_state=0).fit(Records("table", data))
    drawn = model.sample(500, given={"x": "0:1", "kind": "a", "age": "30:40"}, random_state=0)
    assert drawn["x"].between(0, 1).all()
    assert drawn["age"].between(30, 40).all()
    assert set(drawn["kind"]) == {"a"}
    free = model.sample(20_000, random_state=1)["x"]
    kept = free[free.between(0, 1)]
    assert abs(drawn["x"].mean() - kept.mean()) < 5 * kept.std() / math.sqrt(500)
    for how in ("draw", "mean", "mode"):
        full = model.impute(data, how=how, random_state=0)
        assert full.notna().all().all()
        pd.testing.assert_frame_equal(full.where(data.notna()), data, check_dtype=False)
    mean = model.impute(data, how="mean")["x"][data["x"].isna()]
    assert mean.iloc[0] == pytest.approx(data["x"].mean(), abs=0.05)  # the histogram's mean, up to its bins
    with pytest.raises(Problem, match="bins"):
        Marginals(bins=0).fit(data)


def test_pixels_are_level_tables() -> None:
    images = np.random.default_rng(0).integers(0, 5, (60, 2, 2)).astype(np.uint8)
    model = Marginals(random_state=0).fit(images)
    counts = np.bincount(images[:, 0, 0], minlength=5)
    each = np.log((counts[images[:3, 0, 0]] + 0.5) / 62.5)
    others = sum(
        np.log((np.bincount(images[:, i, j], minlength=5)[images[:3, i, j]] + 0.5) / 62.5)
        for i, j in [(0, 1), (1, 0), (1, 1)]
    )
    np.testing.assert_allclose(model.log_prob(images[:3]), each + others, atol=1e-9)
    assert model.kind_ == "exact"
