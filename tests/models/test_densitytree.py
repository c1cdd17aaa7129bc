"""Theorems of density estimation trees: densities are those of brute force, marginals and conditionals are exact."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare

from genlearn.codecs import Given
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.models.densitytree import DensityTree

KINDS: list[dict[str, Any]] = [
    {"criterion": c, "leaf": leaf} for c in ("likelihood", "ise") for leaf in ("product", "constant")
]


def table(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    x = rng.normal(np.where(kind == "a", 0.0, 3.0), 1)
    y = np.where(rng.random(n) < missing * (1 + (kind == "a")), np.nan, x + rng.normal(0, 0.5, n))
    return pd.DataFrame({"kind": kind, "x": x, "y": y})


def levels_table(n: int, seed: int, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.choice(["p", "q", "r"], n, p=[0.5, 0.3, 0.2])
    b = np.where(rng.random(n) < 0.8, np.where(a == "p", "s", "t"), "u")
    c = (a == "q") ^ (rng.random(n) < 0.1)
    return pd.DataFrame({"a": a, "b": b, "c": c, **columns})


CELLS = pd.DataFrame(itertools.product("pqr", "stu", [False, True]), columns=["a", "b", "c"])


@pytest.mark.parametrize("kind", KINDS)
def test_mass_is_one_and_every_cell_has_some(kind: dict[str, Any]) -> None:
    model = DensityTree(random_state=0, min_leaf=5, **kind).fit(levels_table(300, 0))
    mass = np.exp(model.log_prob(CELLS))
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    assert (mass > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_mass_is_one_over_levels_gates_and_numbers(kind: dict[str, Any]) -> None:
    """The density is a step function in y with exponential tails: what the grid misses lies at the edges of steps."""
    frame = table(300, 0, missing=0.2).drop(columns="x")
    model = DensityTree(bins=12, min_leaf=10, random_state=0, **kind).fit(frame)
    grid = np.linspace(-40, 45, 60_001)
    mass = [np.exp(model.log_prob(pd.DataFrame({"kind": k, "y": grid}))).sum() * (grid[1] - grid[0]) for k in "abc"]
    holes = np.exp(model.log_prob(pd.DataFrame({"kind": list("abc"), "y": np.nan})))
    assert sum(mass) + holes.sum() == pytest.approx(1, abs=2e-3)
    far = model.log_prob(pd.DataFrame({"kind": ["a"], "y": [1e4]}))
    assert np.isfinite(far).all()


@pytest.mark.parametrize("kind", KINDS)
def test_leaves_are_disjoint_boxes_that_fill_the_space(kind: dict[str, Any]) -> None:
    """Without missing numbers every record lies in one leaf: the density is that leaf's share times its tables."""
    frame = table(400, 1)
    model = DensityTree(min_leaf=10, random_state=0, **kind).fit(frame)
    cells = model._cells
    code = model.codec_.encode(Records("table", table(200, 2)))
    one_hot = cells.levels.one_hot(cells.encode(code.x))
    inside = (one_hot @ (model.tables_ > 0).double().T) == len(cells.levels.columns)
    assert (inside.sum(1) == 1).all()
    leaf = inside.double().argmax(1)
    chosen = torch.where(one_hot > 0, model.tables_[leaf], 1.0).log().sum(1)
    wanted = model.weights_[leaf].log() + chosen + cells.log_inside(code.x) + code.log_det
    np.testing.assert_allclose(model.log_prob(table(200, 2)), wanted, atol=1e-9)


def test_constant_leaves_are_shares_over_volumes() -> None:
    """Ram and Gray's estimate, on levels: n_l / (n V_l), with V_l counted cell by cell."""
    frame = levels_table(400, 3)
    model = DensityTree(criterion="ise", leaf="constant", min_leaf=5, random_state=0).fit(frame)
    levels = model._cells.encode(model.codec_.encode(Records("table", CELLS)).x)
    leaf = model._leaves.joint(levels).argmax(1).numpy()
    rows = model._leaves.joint(model._cells.encode(model.codec_.encode(Records("table", frame)).x)).argmax(1).numpy()
    share = np.array([(rows == k).sum() / len(frame) / (leaf == k).sum() for k in leaf])
    np.testing.assert_allclose(np.exp(model.log_prob(CELLS)), share, atol=1e-9)


def test_pruning_leaves_no_structure_in_noise_and_finds_it_where_it_is() -> None:
    rng = np.random.default_rng(0)
    noise = pd.DataFrame({"a": rng.choice(["p", "q"], 500), "b": rng.choice(["s", "t"], 500)})
    assert len(DensityTree(random_state=0).fit(noise).weights_) == 1
    model = DensityTree(random_state=0).fit(noise.assign(b=np.where(noise["a"] == "p", "s", "t")))
    assert len(model.weights_) == 2


def test_marginals_sum_the_joint() -> None:
    """A cell that is missing for the first time is summed out (the codec adds its own term for it)."""
    model = DensityTree(min_leaf=5, random_state=0).fit(levels_table(300, 4))
    unseen = math.log(302)
    joint = np.exp(model.log_prob(CELLS))
    for a, c in itertools.product("pqr", [False, True]):
        hole = pd.DataFrame({"a": [a], "b": [None], "c": [c]})
        wanted = joint[(CELLS["a"] == a) & (CELLS["c"] == c)].sum()
        assert math.exp(float(model.log_prob(hole)[0]) + unseen) == pytest.approx(wanted, rel=1e-9)


def test_conditional_draws_follow_bayes_rule() -> None:
    """Chi-square of 4000 draws given one column against the joint, one false alarm in 1000 each."""
    model = DensityTree(min_leaf=5, random_state=0).fit(levels_table(300, 5))
    joint = np.exp(model.log_prob(CELLS))
    for name, value in (("a", "q"), ("b", "u"), ("c", True)):
        drawn = model.sample(4000, given={name: value}, random_state=0)
        assert set(drawn[name]) == {value}
        kept = (CELLS[name] == value).to_numpy()
        keys = pd.MultiIndex.from_frame(CELLS[kept])
        seen = drawn.value_counts(["a", "b", "c"]).reindex(keys).fillna(0)
        expected = 4000 * joint[kept] / joint[kept].sum()
        often = expected > 5
        seen, expected = seen.to_numpy()[often], expected[often]
        assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("given", [{"x": "1:2"}, {"kind": "b"}, {"x": "0:2", "y": "0:2"}, {"kind": "a", "y": "-1:0"}])
def test_conditions_agree_with_rejection(given: dict[str, str]) -> None:
    """Means of conditioned draws and of free draws that happen to fit lie within 5 standard errors."""
    model = DensityTree(random_state=0).fit(table(500, 6))
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


def test_draws_follow_the_density() -> None:
    """Shares of 6000 draws in 20 equal slices of y against their integrals; one false alarm in 1000."""
    model = DensityTree(random_state=0).fit(table(500, 7)[["y"]].assign(z=table(500, 7)["x"]))
    edges = np.linspace(-3, 6, 21)
    grid = np.linspace(-30, 35, 40_001)
    density = np.exp(model.log_prob(pd.DataFrame({"y": grid, "z": np.nan})) + math.log(502))  # z is summed out
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    assert below[-1] == pytest.approx(1, abs=2e-3)
    expected = np.diff(np.interp(edges, grid, below))
    drawn = model.sample(6000, random_state=0)["y"]
    seen = np.histogram(drawn, edges)[0]
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3


def test_imputed_means_are_conditional_expectations() -> None:
    """E[y | kind] by quadrature of the density, and its draws have that mean."""
    frame = table(500, 8, missing=0.2).drop(columns="x")
    model = DensityTree(random_state=0).fit(frame)
    grid = np.linspace(-60, 65, 60_001)
    density = np.exp(model.log_prob(pd.DataFrame({"kind": "b", "y": grid})))
    wanted = float((density * grid).sum() / density.sum())
    holes = pd.DataFrame({"kind": ["b"] * 4000, "y": np.nan})
    assert float(model.impute(holes[:1], how="mean")["y"].iloc[0]) == pytest.approx(wanted, abs=0.02)
    drawn = model.impute(holes, random_state=0)["y"]
    assert drawn.notna().all()
    assert abs(drawn.mean() - wanted) < 5 * drawn.std() / math.sqrt(4000)


def test_column_order_does_not_change_the_score() -> None:
    """Ties between splits aside, a tree over all columns knows no order: the same leaves, the same scores."""
    frame = table(400, 9)
    fresh = table(100, 10)
    a = DensityTree(random_state=0).fit(frame).log_prob(fresh)
    b = DensityTree(random_state=0).fit(frame[["y", "kind", "x"]]).log_prob(fresh[["y", "kind", "x"]])
    np.testing.assert_allclose(a, b, atol=1e-9)


def test_repeats_wide_records_and_impossible_conditions() -> None:
    twice = pd.concat([table(30, 11)] * 20)
    model = DensityTree(random_state=0).fit(twice)
    assert np.isfinite(model.log_prob(table(10, 12))).all()
    images = (np.random.default_rng(0).random((80, 9, 9)) < 0.4).astype(np.uint8)
    images[:, :, 4:] = images[:, :1, 4:5]
    wide = DensityTree(random_state=0).fit(images)
    drawn = wide.sample(300, random_state=0)
    assert (drawn[:, 0, 4] == drawn[:, 0, 8]).mean() > 0.9
    point = Given(torch.full((1, 3), torch.nan), ranges={1: (1.0, 1.0)}, names=("x",))
    with pytest.raises(Problem, match="no record"):
        model._sample(2, torch.Generator(), point)


def test_bad_settings_and_damaged_leaves_are_refused() -> None:
    for setting in ({"bins": 1}, {"min_leaf": 0}, {"max_leaves": 0}, {"folds": 1}):
        with pytest.raises(Problem, match=next(iter(setting))):
            DensityTree(**setting).fit(table(20, 0))  # type: ignore[arg-type]
    model = DensityTree(random_state=0).fit(table(200, 0))
    model._check_learned()
    for name in ("weights_", "tables_"):
        kept = getattr(model, name)
        setattr(model, name, kept * 2)
        with pytest.raises(ValueError, match=name):
            model._check_learned()
        setattr(model, name, kept)
