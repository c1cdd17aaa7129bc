"""Theorems of adversarial random forests: boxes part the space, laws have mass one, conditions and draws agree with scores."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, truncnorm

from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Field, Layout
from genlearn.models._boxlaws import truncated_moments
from genlearn.models._forest import Features, Trees, like_levels
from genlearn.models._pairs import choose, shares
from genlearn.models.forest import Forest

LEAVES = ("product", "gaussian")
PLAIN = {"scale": "standard"}


def table(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    x = rng.normal(np.where(kind == "a", 0.0, 3.0), 1)
    y = np.where(rng.random(n) < missing, np.nan, x + rng.normal(0, 0.5, n))
    return pd.DataFrame({"kind": kind, "x": x, "y": y})


def fitted(frame: pd.DataFrame, **settings: Any) -> Forest:
    settings = {"trees": 6, "rounds": 1, "min_leaf": 10, "random_state": 0} | settings
    return Forest(**settings).fit(Records("table", frame, options=PLAIN))


def log_prob(model: Forest, **columns: Any) -> np.ndarray:
    return model.log_prob(Records("table", pd.DataFrame(columns)))


# -- trees and boxes -------------------------------------------------------------------------------------------------
def test_every_record_lies_in_one_box_of_every_tree() -> None:
    """Descent, boxes and the search for compatible leaves agree; absent numbers lie below all others."""
    model = fitted(table(300, 0, missing=0.3))
    law: Any = model._law
    frame = table(100, 1, missing=0.3)
    code = model.codec_.encode(Records("table", frame))
    features = law.features(code.x)
    assert bool((features == -torch.inf).any())
    low, high = law.trees.boxes(features.shape[1])
    inside = ((features[:, None] > low) | (features[:, None] == -torch.inf) & (low == -torch.inf)) & (
        features[:, None] <= high
    )
    inside = inside.all(2)
    leaves = torch.stack([law.trees.leaf_of(features, t) for t in range(law.trees.count)], 1)
    assert inside.sum(1).tolist() == [law.trees.count] * len(frame)
    assert bool(inside.gather(1, leaves).all())
    hidden = features.clone()
    hidden[::2, 0] = torch.nan
    pairs = torch.zeros_like(inside)
    for rows, leaf in law.trees.compatible(hidden, 2000):
        pairs[rows, leaf] = True
    known = ~torch.isnan(hidden)[:, None]
    fits = ((hidden[:, None] > low) | (hidden[:, None] == -torch.inf) & (low == -torch.inf)) & (hidden[:, None] <= high)
    assert torch.equal(pairs, (fits | ~known).all(2))


def test_no_leaf_holds_fewer_records_than_asked() -> None:
    frame = table(400, 0)
    for least in (3, 25):
        model = fitted(frame, min_leaf=least)
        law: Any = model._law
        features = law.features(model.codec_.encode(Records("table", frame)).x)
        held = sum(torch.bincount(law.trees.leaf_of(features, t), minlength=law.trees.leaves) for t in range(6))
        assert int(held.min()) >= least
        np.testing.assert_allclose(model.weights_, held / held.sum(), atol=1e-12)


def test_like_levels_stand_side_by_side() -> None:
    """Levels that shift a number are ordered as it is, up to direction."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 6, 2000)
    place = np.array([3.0, 0.0, 5.0, 1.0, 4.0, 2.0])
    x = torch.tensor(np.stack([level, place[level] + rng.normal(0, 0.5, 2000)], 1))
    layout = Layout((Field("level", "category", levels=6), Field("x", "real")))
    rank = like_levels(x, layout).tolist()
    assert rank in (place.tolist(), (5 - place).tolist())


def test_trees_that_do_not_fit_together_are_refused() -> None:
    threshold = torch.zeros(3, dtype=torch.float64)
    good = Trees(torch.tensor([0, -1, -1], dtype=torch.int32), threshold, 1)
    good.check(1)
    for feature, count in (([5, -1, -1], 1), ([0, 0, -1], 1), ([-1, 0, -1], 1), ([0, -1, -1], 2), ([0, -1, -1], 0)):
        with pytest.raises(ValueError, match=r"."):
            Trees(torch.tensor(feature, dtype=torch.int32), threshold, count).check(1)


# -- mass ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_mass_is_one_over_levels_gates_and_numbers(leaf: str, missing: float) -> None:
    """The midpoint rule over boxes whose edges do not lie on the grid: 1e-3 of the mass."""
    model = fitted(table(300, 0, missing).drop(columns="x"), leaf=leaf, polish=1)
    grid = np.linspace(-30, 35, 20_001)
    mass = 0.0
    for kind in "abc":
        mass += np.exp(log_prob(model, kind=kind, y=grid)).sum() * (grid[1] - grid[0])
        if missing:
            mass += float(np.exp(log_prob(model, kind=[kind], y=[np.nan]))[0])
    assert mass == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("leaf", LEAVES)
def test_marginals_are_integrals_of_the_joint(leaf: str) -> None:
    """p(kind, x) = sum and integral of p(kind, x, y) over y, and p(x) = sum of p(kind, x)."""
    model = fitted(table(300, 0), leaf=leaf)
    codec, layout = model.codec_, model.layout_
    grid = np.linspace(-20, 25, 20_001)
    frame = pd.DataFrame({"kind": "b", "x": 1.3, "y": grid})
    joint = model._log_prob(codec.encode(Records("table", frame))).exp()
    code = codec.encode(Records("table", frame[:1]))
    y = layout.where["y"].start
    step = float(codec.encode(Records("table", frame[:2])).x[:, y].diff())
    code.x[:, y] = torch.nan
    marginal = float(model._log_prob(code).exp())
    assert marginal == pytest.approx(float(joint.sum()) * step, rel=1e-3)
    each = code.x.repeat(3, 1)
    each[:, layout.where["kind"].start] = torch.arange(3.0)
    parts = model._log_prob(type(code)(each)).exp()
    code.x[:, layout.where["kind"].start] = torch.nan
    assert float(model._log_prob(code).exp()) == pytest.approx(float(parts.sum()), rel=1e-6)  # tables are float32


def test_density_is_brute_force_over_boxes() -> None:
    """The score of a record, from nothing but boxes, tables and truncated normals."""
    frame = table(200, 3)
    model = fitted(frame)
    law: Any = model._law
    low, high = (t.numpy() for t in law.trees.boxes(3))
    code = model.codec_.encode(Records("table", frame[:20]))
    features = law.features(code.x).numpy()
    kind, *numbers = (model.layout_.where[name].start for name in ("kind", "x", "y"))
    share, m, s = model.shares_.numpy(), *model.overall_.numpy()
    for row, x in zip(features, code.x.numpy(), strict=True):
        total = 0.0
        for k in np.flatnonzero(((row > low) & (row <= high)).all(1)):
            value = float(model.weights_[k]) * float(model.tables_[k, int(x[kind])])
            for i, j in enumerate(numbers):
                parts = ((1 - share[k], float(model.means_[k, i]), float(model.sds_[k, i])), (share[k], m[i], s[i]))
                ends = [((low[k, j] - mu) / sd, (high[k, j] - mu) / sd, mu, sd) for _, mu, sd in parts]
                value *= sum(w * truncnorm.pdf(x[j], *e) for (w, *_), e in zip(parts, ends, strict=True))
            total += value
        assert float(model._log_prob(type(code)(torch.tensor(x)[None]))) == pytest.approx(math.log(total), abs=1e-5)


def test_moments_of_truncated_normals() -> None:
    cases = list(itertools.product([-1.0, 0.0, 2.5], [0.3, 2.0], [(-1.0, 0.5), (-math.inf, 1.0), (0.2, math.inf)]))
    mean, sd, low, high = (
        torch.tensor(t, dtype=torch.float64) for t in zip(*((m, s, a, b) for m, s, (a, b) in cases), strict=True)
    )
    found, spread = truncated_moments(mean, sd, low, high)
    law = truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd)
    np.testing.assert_allclose(found, law.mean(), atol=1e-6)
    np.testing.assert_allclose(spread, law.var(), atol=1e-5)


# -- learning --------------------------------------------------------------------------------------------------------
def test_dependence_is_found() -> None:
    """The score comes near the source's, and above that of independent columns by most of their mutual information."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 1))
    x = np.concatenate([z, z], 1) + 0.5 * rng.normal(size=(4000, 2))
    model = Forest(trees=15, rounds=1, random_state=0).fit(x[:3000])
    single = Forest(rounds=0, trees=1, min_leaf=3000, random_state=0).fit(x[:3000])
    information = -0.5 * math.log(1 - 0.8**2)
    gain = model.score(x[3000:]) - single.score(x[3000:])
    assert 0.8 * information < gain < information + 0.03  # one standard error of the difference is 0.02


@pytest.mark.parametrize("leaf", LEAVES)
def test_polish_never_lowers_the_posterior(leaf: str) -> None:
    seen: list[float] = []
    Forest(leaf=leaf, trees=5, rounds=0, polish=6, random_state=0).fit(
        Records("table", table(300, 0, missing=0.2)),
        watch=[lambda e: seen.append(e.values["nats"]) if e.stage == "polish" else None],
    )
    assert len(seen) == 6
    assert seen[-1] > seen[0]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(seen))


def test_records_twice_and_few() -> None:
    """Copies of records move no score by more than the smoothing does; one leaf remains of few records."""
    frame = table(60, 0)
    once = fitted(frame, min_leaf=60, trees=1)
    twice = fitted(pd.concat([frame, frame], ignore_index=True), min_leaf=120, trees=1)
    assert len(once.weights_) == len(twice.weights_) == 1
    gap = once.log_prob(Records("table", frame)) - twice.log_prob(Records("table", frame))
    assert np.abs(gap).max() < 0.1


def test_settings_out_of_range() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    for setting in ({"trees": 0}, {"min_leaf": 0}, {"rounds": -1}, {"delta": 0.6}, {"smoothing": 0.0}, {"polish": -1}):
        with pytest.raises(Problem, match=next(iter(setting))):
            Forest(**setting).fit(x)
    wide = np.random.default_rng(0).normal(size=(30, 120))
    with pytest.raises(Problem, match="covariance"):
        Forest(leaf="gaussian").fit(wide)
    assert np.isfinite(Forest(trees=2, random_state=0).fit(wide).log_prob(wide)).all()


# -- draws -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("leaf", LEAVES)
def test_draws_follow_the_density(leaf: str) -> None:
    """Kolmogorov-Smirnov against the integrated density, one false alarm in 1000."""
    x = np.random.default_rng(0).gamma(2.0, size=(500, 1))
    model = Forest(leaf=leaf, trees=5, min_leaf=40, rounds=0, random_state=0).fit(Records("table", pd.DataFrame(x)))
    drawn = np.asarray(model.sample(4000, random_state=1))[:, 0].astype(float)
    grid = np.linspace(-15, 30, 60_001)
    density = np.exp(model.log_prob(Records("table", pd.DataFrame({0: grid}))))
    cdf = np.cumsum(density) * (grid[1] - grid[0])
    assert cdf[-1] == pytest.approx(1, abs=2e-3)
    assert kstest(drawn, lambda t: np.interp(t, grid, cdf)).pvalue > 1e-3


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("given", [{"x": "1:2"}, {"kind": "b"}, {"x": "0:2", "y": "0:2"}, {"kind": "a", "y": "-1:0"}])
def test_conditions_agree_with_rejection(leaf: str, given: dict[str, str]) -> None:
    """Means of conditioned draws and of free draws that happen to fit lie within 5 standard errors."""
    model = fitted(table(300, 1), leaf=leaf)
    if leaf == "gaussian" and len(given) == 2 and "kind" not in given:
        with pytest.raises(Problem, match="one range"):
            model.sample(2, given=given)
        return
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


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_value_reweights_the_leaves(leaf: str) -> None:
    """E[y | x] by quadrature of the joint, by the mean of imputation, and by draws under the condition."""
    model = fitted(table(400, 2)[["x", "y"]], leaf=leaf)
    grid = np.linspace(-20, 25, 20_001)
    weight = np.exp(log_prob(model, x=1.5, y=grid))
    wanted = float((weight * grid).sum() / weight.sum())
    hole = pd.DataFrame({"x": [1.5], "y": [np.nan]})
    mask = np.array([[False, True]])
    assert float(model.impute(hole, mask, how="mean")["y"].iloc[0]) == pytest.approx(wanted, abs=5e-3)
    drawn = model.sample(4000, given={"x": 1.5}, random_state=0)["y"]
    assert abs(drawn.mean() - wanted) < 5 * drawn.std() / math.sqrt(4000)
    filled = model.impute(pd.concat([hole] * 4000), np.repeat(mask, 4000, 0), how="draw", random_state=0)["y"]
    assert abs(filled.mean() - wanted) < 5 * filled.std() / math.sqrt(4000)


@pytest.mark.parametrize("leaf", LEAVES)
def test_imputation_never_says_missing(leaf: str) -> None:
    frame = table(200, 3, missing=0.4)
    frame.loc[::7, "kind"] = None
    model = fitted(frame, leaf=leaf)
    for how in ("draw", "mean", "mode"):
        assert model.impute(frame, how=how, random_state=0).notna().all().all()


def test_shares_and_choices_of_pairs() -> None:
    """The heaviest pair of every record, shares that sum to one, and draws in proportion (5 standard errors)."""
    rows = torch.tensor([0, 0, 0, 1, 2, 2])
    log_weight = torch.tensor([-1000.0, -1001.0, -999.0, 3.0, -torch.inf, -torch.inf], dtype=torch.float64)
    weight, score = shares(rows, log_weight, 3)
    assert choose(rows, weight, None).tolist()[:2] == [2, 3]
    np.testing.assert_allclose(torch.zeros(3).double().index_add_(0, rows, weight), 1)
    assert float(score[1]) == pytest.approx(3)
    assert float(score[2]) == -math.inf
    many = torch.arange(6000).repeat_interleave(3)
    drawn = choose(many, weight[:3].repeat(6000), torch.Generator().manual_seed(0)) % 3
    share = torch.bincount(drawn, minlength=3) / 6000
    error = (weight[:3] * (1 - weight[:3]) / 6000).sqrt()
    assert bool(((share - weight[:3]).abs() < 5 * error).all())


def test_features_of_unknown_and_absent_values() -> None:
    layout = Layout((Field("x?", "category", levels=2, absent=1), Field("x", "real", gate="x?")))
    features = Features(layout, torch.tensor([1, 0]))
    x = torch.tensor([[0.0, 2.5], [1.0, torch.nan], [torch.nan, torch.nan], [0.0, torch.nan]])
    found = features(x)
    assert found[:2].tolist() == [[1.0, 2.5], [0.0, -math.inf]]
    assert torch.isnan(found[2]).all()
    assert torch.isnan(found[3]).tolist() == [False, True]
    filled = features.completed(found, torch.Generator().manual_seed(0))
    assert not bool(torch.isnan(filled).any())
    assert float(filled[3, 1]) == 2.5  # an open gate gets a number that is there
