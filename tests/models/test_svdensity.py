"""Theorems of support-vector densities: optima by their conditions, Parzen as the limit, mass, conditionals, calibrated labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest, norm
from sklearn.svm import SVC, OneClassSVM

from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Field, Layout
from genlearn.models._kernels import Kernels
from genlearn.models._levels import Levels
from genlearn.models._platt import sigmoid, train
from genlearn.models._reduced import Bumps
from genlearn.models._simplex import active_set, smo, tube_regression
from genlearn.models.kde import KDE
from genlearn.models.svdensity import SVDensity


def table(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    x = rng.normal(np.where(kind == "a", 0.0, 3.0), 1)
    y = np.where(rng.random(n) < missing, np.nan, x + rng.normal(0, 0.5, n))
    return pd.DataFrame({"kind": kind, "x": x, "y": y})


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    return np.asarray((x - x.mean(0)) / x.std(0))


def weights_by_record(model: Any, x: np.ndarray) -> np.ndarray:
    """Return the weights of standardised training records, zero where they are no centres."""
    centres = model.numbers_.numpy()
    alpha = np.zeros(len(x))
    alpha[((x[:, None] - centres) ** 2).sum(2).argmin(0)] = model.alpha_.numpy()
    return alpha


# -- the quadratic programme -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("upper", [1.0, 0.08])
def test_smo_meets_the_optimality_conditions(upper: float) -> None:
    """Gradients are equal inside the bounds, not smaller at 0 and not larger at the upper bound."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(60, 40))
    gram, linear = root.T @ root / 60, rng.normal(size=40)
    alpha, gap = smo(gram, linear, np.full(40, 1 / 40), upper, tol=1e-8)
    gradient = gram @ alpha - linear
    inside = (alpha > 0) & (alpha < upper)
    assert inside.any()
    level = gradient[inside].mean()
    slack = 1e-7 * abs(linear).max()
    assert np.ptp(gradient[inside]) < slack
    assert (gradient[alpha == 0] > level - slack).all()
    assert (gradient[alpha == upper] < level + slack).all()
    assert (alpha.sum(), alpha.min() >= 0, alpha.max() <= upper) == (pytest.approx(1), True, True)
    assert gap < slack


@pytest.mark.parametrize("copies", [1, 3])
def test_active_set_agrees_with_smo(copies: int) -> None:
    """Two methods, one optimum; with copies of columns the value is the same and the weights need not be."""
    rng = np.random.default_rng(1)
    root, linear = np.tile(rng.normal(size=(30, 40)), copies), np.tile(rng.normal(size=40), copies)
    gram, m = root.T @ root / 30, 40 * copies
    slow, _ = smo(gram, linear, np.full(m, 1 / m), tol=1e-9)
    fast = active_set(gram, linear, np.eye(m)[0])
    assert fast.sum() == pytest.approx(1)
    assert (fast >= 0).all()
    value = [0.5 * a @ gram @ a - linear @ a for a in (slow, fast)]
    assert value[1] == pytest.approx(value[0], abs=1e-7)


def test_tube_regression_meets_the_optimality_conditions() -> None:
    rng = np.random.default_rng(0)
    design, target = rng.normal(size=(50, 8)), rng.normal(size=50)
    alpha = tube_regression(0.1 * np.eye(8), design, target, 0.3, passes=1000)
    off = design @ alpha - target
    gradient = 0.1 * alpha + design.T @ (np.sign(off) * np.maximum(abs(off) - 0.3, 0)) / 50
    used = alpha > 1e-9
    assert np.ptp(gradient[used]) < 1e-4
    assert (gradient[~used] > gradient[used].mean() - 1e-4).all()


# -- objectives --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("labelled", [False, True])
def test_one_class_with_nu_one_is_the_parzen_window(labelled: bool) -> None:
    frame = table(120, 0).drop(columns=[] if labelled else "kind")
    records = Records("table", frame, target="kind" if labelled else None)
    model = SVDensity(objective="one-class", nu=1.0, bandwidth=0.3, random_state=0).fit(records)
    assert model.support_vectors_ == 120
    np.testing.assert_allclose(model.alpha_, 1 / 120, rtol=1e-12)
    if not labelled:
        fresh = table(50, 1).drop(columns="kind")
        np.testing.assert_allclose(
            model.log_prob(fresh), KDE(bandwidth=0.3, random_state=0).fit(frame).log_prob(fresh), rtol=1e-9
        )


def test_one_class_weights_equal_scikit_learn() -> None:
    """The same programme; theirs sums to nu m. Tolerance: both stop early, and the programme is flat."""
    x = normal(150, 2)
    theirs = OneClassSVM(nu=0.4, gamma=1 / (2 * 0.5**2), tol=1e-10).fit(x)
    wanted = np.zeros(150)
    wanted[theirs.support_] = theirs.dual_coef_[0] / (0.4 * 150)
    bumps = Bumps(Layout((Field("a", "real"), Field("b", "real"))), torch.tensor(x), torch.zeros(150, 0), 0.5, 0.1)
    gram = (bumps.overlap(0.5, 0.1) - bumps.overlap(0.5, 0.1).max()).exp().numpy()
    found, _ = smo(gram, np.zeros(150), np.full(150, 1 / 150), 1 / (0.4 * 150), tol=1e-8)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    model = SVDensity(objective="one-class", nu=0.4, bandwidth=0.5, random_state=0).fit(x)
    alpha = weights_by_record(model, x)  # stops earlier: the weights may differ, what they minimise does not
    assert alpha @ gram @ alpha == pytest.approx(wanted @ gram @ wanted, rel=1e-3)
    assert model.support_vectors_ >= 0.4 * 150  # nu is a lower bound on their share


def squared_error(alpha: np.ndarray, x: np.ndarray, fresh: np.ndarray, h: float) -> float:
    """Return the integrated squared error to the law of `fresh`, up to a constant, from its closed forms."""
    d = x.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
        gap = ((a[:, None] - b) ** 2).sum(2)
        return np.asarray(np.exp(-gap / (2 * width**2)) / (2 * math.pi * width**2) ** (d / 2))

    return float(alpha @ kernel(x, x, math.sqrt(2) * h) @ alpha - 2 * (kernel(fresh, x, h) @ alpha).mean())


def test_reduced_set_is_girolami_and_he() -> None:
    """Its weights meet the conditions of the published programme, written down anew, and few are left."""
    x, h = normal(200, 2), 0.4
    model = SVDensity(bandwidth=h, smoothing=0.0, random_state=0).fit(x)
    alpha = weights_by_record(model, x)
    gap = ((x[:, None] - x) ** 2).sum(2)
    overlap = np.exp(-gap / (4 * h**2)) / (4 * math.pi * h**2)
    gradient = overlap @ alpha - (np.exp(-gap / (2 * h**2)) / (2 * math.pi * h**2)).mean(1)  # own kernels: a constant
    used = alpha > 0
    assert 5 < used.sum() < 70
    slack = 0.01 * overlap[0, 0] / len(x) + 1e-9  # the stopping rule
    assert np.ptp(gradient[used]) < slack
    assert (gradient[~used] > gradient[used].min() - slack).all()


def test_reduced_set_errs_less_than_parzen_with_a_tenth_of_the_kernels() -> None:
    """At one width, on the training records, by definition; with the widths of both models, to the law itself as well."""
    x = normal(300, 2)
    model = SVDensity(bandwidth=0.5, smoothing=0.0, random_state=0).fit(x)
    assert squared_error(weights_by_record(model, x), x, x, 0.5) < squared_error(np.full(300, 1 / 300), x, x, 0.5)
    x = np.random.default_rng(1).normal(size=(2000, 2))
    axis = np.linspace(-6, 6, 81)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    truth = norm.pdf(grid).prod(1)
    sparse, parzen = SVDensity(smoothing=0.0, random_state=0).fit(x), KDE(random_state=0).fit(x)
    error = [((np.exp(m.log_prob(grid)) - truth) ** 2).sum() for m in (sparse, parzen)]
    assert error[0] < error[1]
    assert sparse.support_vectors_ < 200


def test_cdf_follows_the_empirical_distribution_function() -> None:
    """Close to the empirical one of 400 normals (within 3 standard errors everywhere), monotone, and sparse."""
    x = np.random.default_rng(0).normal(size=(400, 1))
    model = SVDensity(objective="cdf", bandwidth=0.4, random_state=0).fit(x)
    assert model.support_vectors_ < 25
    grid = np.linspace(-5, 5, 4001)
    cdf = np.cumsum(np.exp(model.log_prob(grid[:, None]))) * (grid[1] - grid[0])
    at = np.interp(np.sort(x[:, 0]), grid, cdf)
    assert abs(at - (np.arange(400) + 0.5) / 400).max() < 3 * 0.5 / math.sqrt(400)
    assert abs(np.exp(model.log_prob(grid[:, None])) - norm.pdf(grid)).max() < 0.1


# -- overlaps ----------------------------------------------------------------------------------------------------------
def test_overlaps_are_integrals_over_levels_gates_and_numbers() -> None:
    """Quadrature over a free number and a gated one, sums over the gate and a category."""
    fields = (
        Field("a", "real"), Field("g", "category", levels=2), Field("b", "real", gate="g"), Field("c", "category", levels=3),
    )  # fmt: skip
    layout, h, mixing = Layout(fields), 0.5, 0.2
    numbers = torch.tensor([[0.0, 0.3], [0.7, torch.nan], [-0.4, -1.0]], dtype=torch.float64)
    discrete = torch.tensor([[0, 2], [1, 2], [0, 1]])
    grid = torch.linspace(-8, 8, 161, dtype=torch.float64)
    step = float(grid[1] - grid[0])
    kernels = Kernels(numbers, Levels(layout), discrete)
    total = torch.zeros(3, 3, dtype=torch.float64)
    for c in range(3):
        for g in range(2):
            b = grid if g == 0 else torch.tensor([torch.nan], dtype=torch.float64)
            z = torch.cartesian_prod(grid, b)
            k = kernels.at(z, torch.tensor([[g, c]]).expand(len(z), -1).double(), h, mixing).exp()
            total += k.T @ k * step * (step if g == 0 else 1)
    bumps = Bumps(layout, numbers, discrete, h, mixing)
    found = bumps.overlap(h * math.sqrt(2), 1 - (1 - mixing) ** 2).exp()
    np.testing.assert_allclose(found, total, rtol=1e-9)
    assert float(torch.linalg.eigvalsh(found)[0]) > 0


# -- the density -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("objective", ["reduced-set", "one-class", "cdf"])
@pytest.mark.parametrize("labels", ["joint", "linear", "rbf"])
def test_mass_is_one_over_levels_gates_and_numbers(objective: Any, labels: Any) -> None:
    frame = table(90, 0, missing=0.3).drop(columns="x")
    model = SVDensity(objective=objective, labels=labels, random_state=0).fit(Records("table", frame, target="kind"))
    assert float(model.alpha_.sum()) == pytest.approx(1)
    grid = np.linspace(-25, 30, 2001)
    mass = 0.0
    for kind in "abc":
        rows = pd.DataFrame({"kind": kind, "y": grid})
        mass += np.exp(model.log_prob(Records("table", rows))).sum() * (grid[1] - grid[0])
        hole = pd.DataFrame({"kind": [kind], "y": [np.nan]})
        mass += float(np.exp(model.log_prob(Records("table", hole)))[0])
    assert mass == pytest.approx(1, abs=1e-6)  # the trapezoid rule is exact to this for smooth densities


def test_draws_follow_the_density() -> None:
    """Kolmogorov-Smirnov against the weighted mixture's distribution function, one false alarm in 1000."""
    x = np.random.default_rng(0).normal(size=(80, 1)) * 2
    model = SVDensity(bandwidth=0.4, random_state=0).fit(x)
    centres = model.numbers_[:, 0].numpy() * x.std() + x.mean()

    def cdf(t: np.ndarray) -> np.ndarray:
        return np.asarray(norm.cdf(np.asarray(t)[:, None], centres, 0.4 * x.std()) @ model.alpha_.numpy())

    assert kstest(model.sample(4000, random_state=1)[:, 0], cdf).pvalue > 1e-3


@pytest.mark.parametrize("labels", ["joint", "linear", "rbf"])
@pytest.mark.parametrize("given", [{"x": "1:2"}, {"kind": "b"}, {"x": "0:2", "kind": "c"}])
def test_conditions_agree_with_rejection(given: dict[str, str], labels: Any) -> None:
    """Means of conditioned draws and of free draws that happen to fit lie within 5 standard errors."""
    data = Records("table", table(300, 1), target="kind")
    model = SVDensity(bandwidth=0.3, smoothing=0.0, labels=labels, random_state=0).fit(data)
    conditioned, free = model.sample(3000, given=given, random_state=1), model.sample(30_000, random_state=2)
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


def test_joint_weights_are_densities_of_the_classes() -> None:
    """p(y) is the share of the class, and p(x, y) its own fit's p(x) times that."""
    frame = table(200, 2)
    model = SVDensity(bandwidth=0.3, smoothing=0.0, random_state=0).fit(Records("table", frame, target="kind"))
    label = model.levels_[:, 0]
    for c in range(3):
        level = model.codec_.given({"kind": "abc"[c]}).x[0, -1]
        share = float(model.alpha_[label == int(level)].sum())
        assert share == pytest.approx((frame["kind"] == "abc"[c]).mean(), abs=1e-9)


# -- the classifier ----------------------------------------------------------------------------------------------------
def test_platt_sigmoid_minimises_the_log_loss() -> None:
    rng = np.random.default_rng(0)
    value = rng.normal(size=500)
    positive = rng.random(500) < 1 / (1 + np.exp(-2 * value))
    a, b = sigmoid(value, positive)
    target = np.where(positive, (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2))
    residual = target - 1 / (1 + np.exp(a * value + b))
    assert abs(residual.sum()) < 1e-4
    assert abs(residual @ value) < 1e-4


def test_two_classes_are_scikit_learns_machine_with_platts_formula() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(int)
    machines = train(torch.tensor(x), torch.tensor(y), 2, "rbf", 1.0)
    theirs = SVC(C=1.0, gamma=machines.gamma).fit(x, y)
    fresh = rng.normal(size=(50, 2))
    value = theirs.decision_function(fresh)
    np.testing.assert_allclose(machines.decide(torch.tensor(fresh))[:, 0], value, atol=5e-3)  # their tolerance is 1e-3
    a, b = machines.platt[0].tolist()
    p = machines.log_probs(torch.tensor(fresh)).exp().numpy()
    ours = machines.decide(torch.tensor(fresh))[:, 0].numpy()
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(a * ours + b)), rtol=1e-9)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("labels", ["linear", "rbf"])
def test_the_classifier_leaves_the_density_of_features_alone(labels: Any) -> None:
    """Summed over labels, p(x, y) is p(x): that of the same fit without labels. Labels are learned."""
    frame = table(250, 3)
    model = SVDensity(bandwidth=0.3, smoothing=0.0, labels=labels, random_state=0).fit(
        Records("table", frame, target="kind")
    )
    each = np.stack([model.log_prob(Records("table", frame.assign(kind=k), target="kind")) for k in "abc"], 1)
    numbers = frame[["x", "y"]]
    alone = SVDensity(bandwidth=0.3, smoothing=0.0, random_state=0).fit(numbers).log_prob(numbers)
    assert abs(np.logaddexp.reduce(each, 1) - alone).mean() < 0.2  # other centres come first: the programme's own slack
    likely = np.array(list("abc"))[each.argmax(1)]
    assert (likely == frame["kind"]).mean() > 0.7  # the two of three classes that overlap cannot be told apart


def test_bad_settings_are_named() -> None:
    x = normal(20, 1)
    for settings in (
        {"nu": 0.0},
        {"nu": 1.5},
        {"bandwidth": -1.0},
        {"centers": 0},
        {"smoothing": -1.0},
        {"penalty": 0.0},
    ):
        with pytest.raises(Problem, match=next(iter(settings))):
            SVDensity(**settings).fit(x)  # type: ignore[arg-type]


def test_duplicates_and_small_data() -> None:
    """Repeated records share one place; the weights stay proper."""
    x = np.repeat(normal(10, 2), 20, 0)
    for objective in ("reduced-set", "one-class", "cdf"):
        model = SVDensity(objective=objective, random_state=0).fit(x)  # type: ignore[arg-type]
        assert float(model.alpha_.sum()) == pytest.approx(1)
        assert np.isfinite(model.log_prob(x)).all()
