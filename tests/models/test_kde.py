"""Theorems of the kernel density estimate: its densities, conditionals and draws equal their closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, norm
from sklearn.neighbors import KernelDensity

from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Field, Layout
from genlearn.models._kernels import Kernels, golden
from genlearn.models._levels import Levels
from genlearn.models.kde import KDE


def table(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    x = rng.normal(np.where(kind == "a", 0.0, 3.0), 1)
    y = np.where(rng.random(n) < missing, np.nan, x + rng.normal(0, 0.5, n))
    return pd.DataFrame({"kind": kind, "x": x, "y": y})


def test_equals_scikit_learn_at_the_same_bandwidth() -> None:
    """Columns of equal spread: the product kernel is the isotropic one."""
    x = np.random.default_rng(0).normal(size=(300, 3))
    x = (x - x.mean(0)) / x.std(0)
    fresh = np.random.default_rng(1).normal(size=(100, 3))
    theirs = KernelDensity(bandwidth=0.4).fit(x).score_samples(fresh)
    np.testing.assert_allclose(KDE(bandwidth=0.4, random_state=0).fit(x).log_prob(fresh), theirs, atol=1e-9)


def test_kernel_of_levels_sums_to_one_and_matches_its_formula() -> None:
    layout = Layout((Field("a", "category", levels=3), Field("b", "binary", levels=2)))
    levels = Levels(layout)
    centres = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    kernels = Kernels(torch.zeros(2, 0, dtype=torch.float64), levels, centres)
    cells = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0))
    found = kernels.at(torch.zeros(6, 0), cells, 1.0, 0.3).exp()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-12)
    hit = (0.7 + 0.1) * (0.7 + 0.15)
    assert float(found[4, 0]) == pytest.approx(hit)  # cell (2, 0) is the first centre
    np.testing.assert_allclose(levels.total(kernels.table(0.3)), 1, atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_mass_is_one_over_levels_gates_and_numbers(missing: float) -> None:
    frame = table(60, 0, missing).drop(columns="x")
    model = KDE(random_state=0).fit(Records("table", frame))
    grid = np.linspace(-25, 30, 4001)
    mass = 0.0
    for kind in "abc":
        rows = pd.DataFrame({"kind": kind, "y": grid})
        mass += np.exp(model.log_prob(Records("table", rows))).sum() * (grid[1] - grid[0])
        if missing:
            hole = pd.DataFrame({"kind": [kind], "y": [np.nan]})
            mass += float(np.exp(model.log_prob(Records("table", hole)))[0])
    assert mass == pytest.approx(1, abs=1e-6)  # the trapezoid rule is exact to this for smooth densities


def test_bandwidth_is_the_leave_one_out_optimum() -> None:
    """The brute-force optimum of a small sample; exact copies are left out with the record."""
    x = np.random.default_rng(0).normal(size=(80, 1))
    x = np.r_[x, x[:20]]
    z = (x - x.mean()) / x.std()
    gap = np.abs(z - z.T)

    def left_out(h: float) -> float:
        kernel = np.where(gap < 1e-9, 0, norm.pdf(gap / h) / h)
        return float(np.log(kernel.sum(1)).mean())

    grid = np.geomspace(0.02, 2, 400)
    best = grid[np.argmax([left_out(h) for h in grid])]
    found = KDE(random_state=0).fit(x).bandwidth_
    assert left_out(found) == pytest.approx(left_out(best), abs=1e-3)  # the optimum is flat: compare values


def test_silverman_and_given_bandwidths() -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    assert KDE(bandwidth="silverman").fit(x).bandwidth_ == pytest.approx((1 / 200) ** (1 / 6))
    assert KDE(bandwidth=0.7).fit(x).bandwidth_ == 0.7
    with pytest.raises(Problem, match="positive"):
        KDE(bandwidth=0.0).fit(x)
    with pytest.raises(Problem, match="centers"):
        KDE(centers=0).fit(x)


def test_centres_are_a_sample_of_large_data() -> None:
    notes: list[str] = []
    model = KDE(centers=50, random_state=0).fit(
        np.random.default_rng(0).normal(size=(500, 2)), watch=[lambda e: notes.append(e.note)]
    )
    assert len(model.numbers_) == 50
    assert "50 of 500 records" in notes[-1]


def test_draws_follow_the_density() -> None:
    """Kolmogorov-Smirnov against the mixture's distribution function, one false alarm in 1000."""
    x = np.random.default_rng(0).normal(size=(50, 1)) * 2
    model = KDE(bandwidth=0.3, random_state=0).fit(x)
    drawn = model.sample(4000, random_state=1)[:, 0]
    assert kstest(drawn, lambda t: norm.cdf(np.asarray(t)[:, None], x[:, 0], 0.3 * x.std()).mean(1)).pvalue > 1e-3


@pytest.mark.parametrize("given", [{"x": "1:2"}, {"kind": "b"}, {"x": "0:2", "y": "0:2"}, {"kind": "a", "y": "-1:0"}])
def test_conditions_agree_with_rejection(given: dict[str, str]) -> None:
    """Means of conditioned draws and of free draws that happen to fit lie within 5 standard errors."""
    model = KDE(bandwidth=0.3, random_state=0).fit(Records("table", table(300, 1)))
    conditioned, free = model.sample(4000, given=given, random_state=1), model.sample(40_000, random_state=2)
    keep = np.ones(len(free), bool)
    for name, wanted in given.items():
        if ":" in wanted:
            low, high = map(float, wanted.split(":"))
            keep &= free[name].between(low, high).to_numpy()
            assert conditioned[name].between(low - 1e-9, high + 1e-9).all()
        else:
            keep &= (free[name] == wanted).to_numpy()
            assert (conditioned[name] == wanted).all()
    for name in ("x", "y"):
        a, b = conditioned[name], free[keep][name]
        assert abs(a.mean() - b.mean()) < 5 * math.sqrt(a.var() / len(a) + b.var() / len(b))


def test_value_conditions_reweight_the_kernels() -> None:
    """E[y | x] is the Nadaraya-Watson estimate."""
    frame = table(200, 2)[["x", "y"]]
    model = KDE(bandwidth=0.2, random_state=0).fit(Records("table", frame, options={"scale": "standard"}))
    weights = norm.pdf((frame["x"] - 1.5) / (0.2 * frame["x"].std(ddof=0)))
    wanted = float((weights * frame["y"]).sum() / weights.sum())
    hole: Any = pd.DataFrame({"x": [1.5], "y": [np.nan]})
    mask = np.array([[False, True]])
    assert float(model.impute(hole, mask, how="mean")["y"].iloc[0]) == pytest.approx(wanted, abs=1e-6)
    drawn = model.sample(4000, given={"x": 1.5}, random_state=0)["y"]
    assert abs(drawn.mean() - wanted) < 5 * drawn.std() / math.sqrt(4000)


def test_imputation_never_says_missing() -> None:
    frame = table(200, 3, missing=0.4)
    frame.loc[::7, "kind"] = None
    model = KDE(random_state=0).fit(Records("table", frame))
    for how in ("draw", "mean", "mode"):
        full = model.impute(frame, how=how, random_state=0)
        assert full.notna().all().all()
    with pytest.raises(Problem, match="no record"):
        KDE(bandwidth=0.0005, random_state=0).fit(Records("table", table(200, 3))).sample(2, given={"x": 0.0, "y": 5.0})


def test_binary_images() -> None:
    images = (np.random.default_rng(0).random((40, 2, 2)) < 0.4).astype(np.uint8)
    model = KDE(random_state=0).fit(images)
    cells = ((np.arange(16)[:, None] >> np.arange(4)) & 1).reshape(16, 2, 2).astype(np.uint8)
    assert np.exp(model.log_prob(cells)).sum() == pytest.approx(1, abs=1e-9)
    mask = np.array([[True, False], [False, False]])
    filled = model.impute(cells, mask, how="mode")
    np.testing.assert_array_equal(filled[:, ~mask], cells[:, ~mask])


def test_golden_section_finds_the_peak() -> None:
    assert golden(lambda t: -abs(t - 0.3), -1, 1, 1e-5) == pytest.approx(0.3, abs=1e-5)
