"""Theorems of the Gaussian mixture: EM climbs, densities and conditionals equal their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import multigammaln
from scipy.stats import kstest, multivariate_normal, norm, truncnorm
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

from genlearn.codecs.units import Units
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Code, Field, Layout
from genlearn.models._em import DenseEM, FactoredEM
from genlearn.models._levels import Levels
from genlearn.models._mixture import Fitter, Mixture, Rows
from genlearn.models._normals import Dense, Factored, log_mass, patterns, truncated
from genlearn.models._starts import clusters
from genlearn.models._variational import Bayes, Posterior
from genlearn.models.gmm import GMM
from genlearn.models.marginals import Marginals

SHAPES = ["full", "tied", "diag", "spherical", "lowrank"]


def blobs(n: int, d: int, k: int, seed: int) -> np.ndarray:
    """Draw from k overlapping Gaussians in d dimensions, with correlations."""
    rng = np.random.default_rng(seed)
    mean, root = rng.normal(0, 2, (k, d)), rng.normal(0, 0.6, (k, d, d))
    which = rng.integers(k, size=n)
    return mean[which] + np.einsum("nd,nde->ne", rng.normal(size=(n, d)), root[which])


def numbers_only(x: np.ndarray) -> Layout:
    return Layout(tuple(Field(f"x{j}", "real") for j in range(x.shape[1])))


class Stand:
    """A codec that only holds a layout: the code is the data."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.units = layout, Units()


def fitted(model: GMM, layout: Layout, x: np.ndarray) -> GMM:
    """Fit on codes, without a codec."""
    model.seed_, model.codec_ = 0, Stand(layout)
    model._fit(Code(torch.as_tensor(x, dtype=torch.float64)), None)
    return model


def log_prob(model: GMM, x: np.ndarray) -> np.ndarray:
    return model._log_prob(Code(torch.as_tensor(x, dtype=torch.float64))).numpy()


# -- EM --------------------------------------------------------------------------------------------------------------
def climb(
    x: np.ndarray,
    discrete: np.ndarray,
    shape: str,
    strength: float,
    passes: int = 25,
    weights: np.ndarray | None = None,
) -> list[float]:
    """Return the objective after every pass."""
    levels = Levels(Layout(tuple(Field(f"c{j}", "category", levels=3) for j in range(discrete.shape[1]))))
    heavy = None if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    rows = Rows(torch.as_tensor(x), torch.as_tensor(discrete), levels, torch.float64, heavy)
    d, k = x.shape[1], 3
    em = DenseEM(strength, shape == "tied") if shape in ("full", "tied") else None
    em = em or FactoredEM(strength, rows.complete, shape == "spherical")
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(k, d, dtype=torch.float64, generator=rng)
    unit = torch.ones(k, d, dtype=torch.float64)
    factors = torch.randn(k, d, 2 if shape == "lowrank" else 0, dtype=torch.float64, generator=rng)
    normals = Dense(mean, torch.diag_embed(unit)) if shape in ("full", "tied") else Factored(mean, factors, unit)
    em.centre_prior(torch.full((k,), 1 / k, dtype=torch.float64), normals)  # type: ignore[arg-type]
    base = torch.full((levels.width,), 1 / 3, dtype=torch.float64)
    fitter = Fitter(rows, None, em, base, smoothing=1.0, tol=0.0)
    tables = levels.share(torch.rand(k, levels.width, dtype=torch.float64, generator=rng) + 0.5)
    mixture = Mixture(torch.full((k,), 1 / k, dtype=torch.float64), normals, tables)
    found = []
    for _ in range(passes):
        nats, updated = fitter.sweep(rows, mixture)
        found.append(fitter.objective(nats, mixture))
        mixture = updated
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("holes", [0.0, 0.2])
@pytest.mark.parametrize("strength", [0.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_em_never_decreases(shape: str, strength: float, holes: float, weighted: bool) -> None:
    x, discrete = holed(300, holes)
    weights = np.random.default_rng(2).gamma(0.5, 2.0, 300) if weighted else None
    found = np.array(climb(x, discrete, shape, strength, weights=weights))
    assert (np.diff(found) > -1e-7).all()  # the variance floor of 1e-9 may cost this much
    assert found[-1] - found[0] > 0.1


def holed(n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and levels of which a share is unknown."""
    x, rng = blobs(n, 4, 3, 0), np.random.default_rng(1)
    discrete = rng.integers(3, size=(n, 2)).astype(float)
    x[rng.random(x.shape) < share] = np.nan
    discrete[rng.random(discrete.shape) < share] = np.nan
    return x, discrete


@pytest.mark.parametrize("shape", SHAPES)
def test_whole_weights_are_repeated_records(shape: str) -> None:
    """Also of weight 0, and where numbers are missing: the same objective in every pass, to the rounding of sums."""
    x, discrete = holed(200, 0.2)
    weights = np.random.default_rng(3).integers(0, 4, 200)
    found = climb(x, discrete, shape, 2.0, weights=weights)
    np.testing.assert_allclose(found, climb(np.repeat(x, weights, 0), np.repeat(discrete, weights, 0), shape, 2.0))


def test_weights_of_a_fit() -> None:
    x, weights = blobs(200, 2, 1, 0), np.random.default_rng(0).integers(0, 4, 200)
    weighted = GMM(components=1, random_state=0).fit(x, weights=weights)
    repeated = GMM(components=1, random_state=0).fit(np.repeat(x, weights, 0))
    np.testing.assert_allclose(weighted.log_prob(x), repeated.log_prob(x), rtol=1e-9)
    for wrong in (weights[:-1], -weights, weights * np.nan, 0 * weights, ["a"] * 200):
        with pytest.raises(Problem, match="weights"):
            GMM(components=1).fit(x, weights=wrong)
    with pytest.raises(Problem, match="gmm"):
        Marginals().fit(x, weights=weights)


@pytest.mark.parametrize("alone", [0, 50])
def test_em_with_columns_in_pairs_and_components_alone(alone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of columns, and where components are sharp, products of pairs give way to one product per component."""
    x = blobs(300, 20, 2, 3)
    x[:40, :3] = np.nan
    plain = climb(x, np.zeros((300, 0)), "full", 5.0, passes=8)
    monkeypatch.setattr("genlearn.models._em.PAIRS", 18 if alone else 0)
    np.testing.assert_allclose(climb(x, np.zeros((300, 0)), "full", 5.0, passes=8), plain, rtol=1e-9)
    assert (np.diff(plain) > -1e-7).all()


@pytest.mark.parametrize("shape", ["full", "tied"])
def test_rare_patterns_together_are_patterns_one_by_one(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that miss numbers in many ways: batches of small matrices give what a product per pattern gives."""
    x, discrete = holed(300, 0.4)
    weights = np.random.default_rng(2).gamma(0.5, 2.0, 300)
    found = []
    for few in (0, 1000):
        monkeypatch.setattr("genlearn.models._rows.FEW", few)
        found.append(climb(x, discrete, shape, 2.0, weights=weights))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_the_same_fit_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are read anew in every pass, block by block, give the bytes of those that are held."""
    frame = mixed(3000, 0)
    frame.loc[::7, "x"] = np.nan
    monkeypatch.setattr("genlearn.models._rows.BLOCK", 10_000)
    models = []
    for held in (True, False):
        monkeypatch.setattr("genlearn.models._rows.fits", lambda size, held=held: held)
        for shape in ("full", "lowrank"):
            models.append(GMM(components=3, covariance=shape, rank=1, random_state=0).fit(Records("table", frame)))
    for one, other in ((models[0], models[2]), (models[1], models[3])):
        assert all(torch.equal(a, other._state()[0][k]) for k, a in one._state()[0].items())


@pytest.mark.parametrize("select", ["held-out", "bic"])
def test_components_are_counted(select: str) -> None:
    """Three clusters that lie 20 deviations apart are three components."""
    rng, notes = np.random.default_rng(0), []
    x = rng.normal(size=(600, 2)) + rng.integers(3, size=(600, 1)) * 20
    model = GMM(components="auto", select=select, random_state=0).fit(x, watch=[lambda e: notes.append(e.note)])
    assert len(model.weights_) == 3
    assert f"3 components by {select}" in notes[-1]


# -- variational Bayes -----------------------------------------------------------------------------------------------
def believe(
    x: np.ndarray, discrete: np.ndarray, labels: np.ndarray, passes: int, k: int = 4
) -> tuple[list[float], Posterior]:
    """Return the lower bound before every pass, in nats, and the beliefs; the prior has two degrees of freedom beside the columns."""
    levels = Levels(Layout(tuple(Field(f"c{j}", "category", levels=3) for j in range(discrete.shape[1]))))
    rows = Rows(torch.as_tensor(x), torch.as_tensor(discrete), levels, torch.float64)
    d, em = x.shape[1], DenseEM(x.shape[1] + 2.0)
    base = torch.full((levels.width,), 1 / 3, dtype=torch.float64)
    fitter = Bayes(rows, None, em, base, 1.0, 0.0, 0.5)
    em.target = torch.eye(d, dtype=torch.float64)
    start = Mixture(torch.ones(k).double() / k, Dense(torch.zeros(k, d).double(), torch.eye(d).double().repeat(k, 1, 1)),
                    torch.ones(k, levels.width).double())  # fmt: skip
    beliefs = fitter.sweep(rows, start, lambda joint, places: torch.as_tensor(labels)[places])[1]
    bounds = []
    for _ in range(passes):
        nats, updated = fitter.sweep(rows, beliefs)
        bounds.append(fitter.objective(nats, beliefs) * len(x))
        beliefs = updated
    assert isinstance(beliefs, Posterior)
    return bounds, beliefs


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_the_lower_bound_never_decreases(holes: float) -> None:
    x, discrete = holed(200, holes)
    bounds, beliefs = believe(x, discrete, np.arange(200) % 4, 40)
    assert (np.diff(bounds) > -1e-8).all()
    assert bounds[-1] - bounds[0] > 10
    assert float(beliefs.point.weights.sum()) == pytest.approx(1)


def test_the_lower_bound_is_one_of_the_evidence() -> None:
    """One component: its evidence has a closed form (a normal-Wishart integrates), which the bound reaches."""
    x = blobs(30, 2, 1, 1)
    bounds, beliefs = believe(x, np.zeros((30, 0)), np.zeros(30, int), 3, k=1)
    q, n, d, dof = beliefs.components, len(x), 2, 4.0
    prior = 4.0 * np.eye(2)
    wanted = (
        -0.5 * n * d * math.log(math.pi) + multigammaln(0.5 * (dof + n), d) - multigammaln(0.5 * dof, d)
        + 0.5 * dof * np.linalg.slogdet(prior)[1] - 0.5 * (dof + n) * np.linalg.slogdet(q.scatter[0].numpy())[1]
        - 0.5 * d * math.log(1 + n)
    )  # fmt: skip
    assert bounds[-1] == pytest.approx(wanted, abs=1e-8)


def test_variational_bayes_equals_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same labels both end alike; their bound leaves out constants, the same for every start."""
    x, gaps = blobs(200, 3, 3, 2), []
    for seed in (0, 1):
        labels = np.random.default_rng(seed).integers(4, size=200)
        bounds, beliefs = believe(x, np.zeros((200, 0)), labels, 600)
        theirs = BayesianGaussianMixture(
            n_components=4, weight_concentration_prior_type="dirichlet_distribution", weight_concentration_prior=0.5,
            mean_prior=np.zeros(3), mean_precision_prior=1.0, degrees_of_freedom_prior=5.0, covariance_prior=5 * np.eye(3),
            max_iter=600, tol=1e-14, reg_covar=0.0,
        )  # fmt: skip
        monkeypatch.setattr(
            theirs, "_initialize_parameters", lambda x, *_, m=theirs, y=labels, **__: m._initialize(x, np.eye(4)[y])
        )
        theirs.fit(x)
        np.testing.assert_allclose(beliefs.point.weights, theirs.weights_, atol=1e-5)
        np.testing.assert_allclose(beliefs.point.normals.mean, theirs.means_, atol=1e-4)
        np.testing.assert_allclose(beliefs.point.normals.cov, theirs.covariances_, atol=1e-4)
        gaps.append(bounds[-1] - theirs.lower_bound_)
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-5)


def test_variational_bayes_empties_components() -> None:
    """Two clusters need no ten components, and what is kept is a density that data like them score as well under."""
    x, test = blobs(800, 2, 2, 5), blobs(800, 2, 2, 5)[:200]
    model = GMM(components=10, posterior="variational", concentration=0.01, random_state=0).fit(x)
    assert int((model.weights_ > 0.02).sum()) <= 4
    assert model.score(test) > GMM(components=2, random_state=0).fit(x).score(test) - 0.1
    with pytest.raises(Problem, match="full"):
        GMM(posterior="variational", covariance="diag").fit(x)
    with pytest.raises(Problem, match="smoothing"):
        GMM(posterior="variational", smoothing=0.0).fit(x)


@pytest.mark.parametrize("shape", ["full", "tied", "diag", "spherical"])
def test_equals_scikit_learn_from_the_same_start(shape: str) -> None:
    x = blobs(500, 3, 3, 2)
    x = (x - x.mean(0)) / x.std(0)
    start = x[[0, 1, 2]]
    theirs = GaussianMixture(
        3, covariance_type=shape, means_init=start, max_iter=30, tol=0, reg_covar=0, init_params="random_from_data",
        weights_init=np.full(3, 1 / 3), precisions_init=_unit_precisions(shape),
    )  # fmt: skip
    with pytest.warns(Warning, match="converge"):
        theirs.fit(x)
    k, d = 3, 3
    rows = Rows(torch.as_tensor(x), torch.zeros(500, 0), Levels(numbers_only(x)), torch.float64)
    unit = torch.ones(k, d, dtype=torch.float64)
    mean = torch.as_tensor(start)
    if shape in ("full", "tied"):
        em, normals = DenseEM(0.0, shape == "tied"), Dense(mean, torch.diag_embed(unit))
    else:
        em, normals = FactoredEM(0.0, True, shape == "spherical"), Factored(mean, unit[:, :, None][:, :, :0], unit)
    mixture = Mixture(torch.full((k,), 1 / 3, dtype=torch.float64), normals, torch.zeros(k, 0, dtype=torch.float64))
    fitter = Fitter(rows, None, em, torch.zeros(0, dtype=torch.float64), 0.0, 0.0)
    for _ in range(30):
        mixture = fitter.sweep(rows, mixture)[1]
    assert fitter.score(rows, mixture) == pytest.approx(theirs.score(x), rel=1e-6)
    np.testing.assert_allclose(np.sort(mixture.weights.numpy()), np.sort(theirs.weights_), rtol=1e-5)


def _unit_precisions(shape: str) -> np.ndarray:
    return {"full": np.stack([np.eye(3)] * 3), "tied": np.eye(3), "diag": np.ones((3, 3)), "spherical": np.ones(3)}[
        shape
    ]


@pytest.mark.parametrize("width", [1.0, 1e-3])
def test_float32_chunks_agree_with_float64(width: float) -> None:
    """Also where a component is a thousand times narrower than the whole: float32 carries 7 digits, sums are float64."""
    x = blobs(2000, 6, 3, 5)
    x[:400] = x[:400] * width + (1 - width)
    scores = []
    for dtype in (torch.float32, torch.float64):
        rows = Rows(torch.as_tensor(x), torch.zeros(2000, 0), Levels(numbers_only(x)), dtype)
        mean, unit = torch.as_tensor(x[[0, 500, 501]]), torch.eye(6).double()
        cov = torch.stack([unit * width**2, unit, unit])
        mixture = Mixture(torch.full((3,), 1 / 3, dtype=torch.float64), Dense(mean, cov),
                          torch.zeros(3, 0, dtype=torch.float64))  # fmt: skip
        fitter = Fitter(rows, None, DenseEM(0.0), torch.zeros(0).double(), 0.0, 0.0)
        for _ in range(10):
            mixture = fitter.sweep(rows, mixture)[1]
        scores.append(fitter.score(rows, mixture))
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_components_stop_at_the_records_and_dead_ones_are_replanted() -> None:
    notes: list[str] = []
    x = np.random.default_rng(0).normal(size=(4, 2))
    model = GMM(components=9, random_state=0).fit(x, watch=[lambda e: notes.append(e.note)])
    assert len(model.weights_) == 4
    assert "no more records" in notes[-1]
    rows = torch.as_tensor(np.r_[blobs(50, 2, 1, 0), blobs(50, 2, 1, 0) + 30])
    far = Dense(torch.tensor([[0.0, 0.0], [900.0, 900.0]]).double(), torch.eye(2).double().repeat(2, 1, 1))
    start = Mixture(torch.tensor([0.5, 0.5]).double(), far, torch.zeros(2, 0).double())
    fitter = Fitter(Rows(rows, torch.zeros(100, 0), Levels(numbers_only(rows.numpy())), torch.float64), None,
                    DenseEM(0.0), torch.zeros(0).double(), 0.0, 1e-6)  # fmt: skip
    fitter.statistics.target, fitter.statistics.strength = torch.eye(2).double(), 1.0
    mixture = fitter.run(start, 30, lambda step, nats: None)[0]
    assert sorted(mixture.weights.tolist()) == pytest.approx([0.5, 0.5], abs=1e-3)


def test_stops_by_validation_and_keeps_the_best() -> None:
    everything = blobs(2300, 8, 2, 9)
    x, valid, test = everything[:100], everything[100:300], everything[300:]
    notes: list[str] = []
    loose = {"components": 4, "regularization": 0.02, "tol": 0.0, "max_iter": 100, "random_state": 0}
    early = GMM(**loose).fit(x, valid=valid, watch=[lambda e: notes.append(e.note)])
    assert "validation" in notes[-1]
    assert early.score(test) > GMM(**loose).fit(x).score(test)


# -- densities -------------------------------------------------------------------------------------------------------
def test_low_rank_density_equals_the_dense_one() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 7, dtype=torch.float64, generator=rng)
    w = torch.randn(2, 7, 3, dtype=torch.float64, generator=rng)
    noise = torch.rand(2, 7, dtype=torch.float64, generator=rng) + 0.1
    x = torch.randn(50, 7, dtype=torch.float64, generator=rng)
    found = Factored(mean, w, noise).log_prob(x)
    cov = w @ w.transpose(1, 2) + torch.diag_embed(noise)
    for k in range(2):
        wanted = multivariate_normal(mean[k].numpy(), cov[k].numpy()).logpdf(x.numpy())
        np.testing.assert_allclose(found[:, k], wanted, atol=1e-9)
    np.testing.assert_allclose(Dense(mean, cov).log_prob(x), found, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_missing_numbers_are_marginalised(shape: str) -> None:
    """A row with a hole has the density of scipy's marginal."""
    x = blobs(400, 3, 2, 4)
    model = fitted(GMM(components=2, covariance=shape, rank=1, random_state=0), numbers_only(x), x)
    holes = x[:50].copy()
    holes[:, 1] = np.nan
    normals = model._mixture.normals
    cov = (
        normals.cov if isinstance(normals, Dense) else normals.factors @ normals.factors.mT + normals.noise.diag_embed()
    )
    keep = [0, 2]
    wanted = sum(
        float(w) * multivariate_normal(m[keep].numpy(), c[keep][:, keep].numpy()).pdf(holes[:, keep])
        for w, m, c in zip(model.weights_, normals.mean, cov, strict=True)
    )
    np.testing.assert_allclose(log_prob(model, holes), np.log(wanted), atol=1e-8)


def test_mass_is_one_over_gates_levels_and_numbers() -> None:
    """Sum over a gate and a category, integrate over the gated number."""
    layout = Layout((Field("v?", "category", levels=3, absent=2), Field("v", "real", gate="v?"),
                     Field("c", "category", levels=2)))  # fmt: skip
    rng = np.random.default_rng(0)
    gate = rng.choice(3, 300, p=[0.6, 0.3, 0.1])
    x = np.c_[gate, np.where(gate == 0, rng.normal(size=300), np.nan), rng.integers(2, size=300)]
    model = fitted(GMM(components=3, random_state=0), layout, x)
    grid = np.linspace(-12, 12, 4001)
    mass = 0.0
    for c in (0.0, 1.0):
        open_rows = np.c_[np.zeros_like(grid), grid, np.full_like(grid, c)]
        mass += np.exp(log_prob(model, open_rows)).sum() * (grid[1] - grid[0])
        shut = np.array([[1.0, np.nan, c], [2.0, np.nan, c]])
        mass += np.exp(log_prob(model, shut)).sum()
    assert mass == pytest.approx(1, abs=1e-6)


def test_bernoulli_mixture_on_binary_images_sums_to_one() -> None:
    rng = np.random.default_rng(0)
    images = (rng.random((200, 2, 3)) < 0.3).astype(np.uint8) * 255
    model = GMM(components=2, random_state=0).fit(images)
    cells = ((np.arange(64)[:, None] >> np.arange(6)) & 1).reshape(64, 2, 3).astype(np.uint8) * 255
    assert np.exp(model.log_prob(cells)).sum() == pytest.approx(1, abs=1e-9)
    assert model.kind_ == "exact"


# -- conditionals ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", ["full", "lowrank"])
def test_conditional_mean_and_draws_equal_the_closed_form(shape: str) -> None:
    """One component: E[u|o] = mu_u + S_uo S_oo^-1 (o - mu_o); 4000 draws follow the conditional normal (KS, 1e-3 false alarms)."""
    x = blobs(500, 4, 1, 6)
    model = fitted(GMM(components=1, covariance=shape, rank=2, regularization=0.0, random_state=0), numbers_only(x), x)
    normals = model._mixture.normals
    full = (
        normals.cov[0]
        if isinstance(normals, Dense)
        else normals.factors[0] @ normals.factors[0].T + normals.noise[0].diag()
    )
    mean, cov = normals.mean[0].numpy(), full.numpy()
    o, u = [0, 2], [1, 3]
    slope = cov[np.ix_(u, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
    wanted = mean[u] + (x[0, o] - mean[o]) @ slope.T
    spread = np.sqrt(np.diag(cov[np.ix_(u, u)] - slope @ cov[np.ix_(o, u)]))
    rows = torch.as_tensor(np.repeat(x[:1], 4000, 0))
    mask = torch.tensor([True, False, True, False]).expand(4000, -1)
    filled = model._impute(Code(rows, mask=mask), "mean", torch.Generator().manual_seed(0)).x[0].numpy()
    np.testing.assert_allclose(filled[u], wanted, atol=1e-9)
    np.testing.assert_array_equal(filled[o], x[0, o])
    drawn = model._impute(Code(rows, mask=mask), "draw", torch.Generator().manual_seed(0)).x.numpy()
    for j, centre, sd in zip(u, wanted, spread, strict=True):
        assert kstest(drawn[:, j], norm(centre, sd).cdf).pvalue > 1e-3


def mixed(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b"], n)
    shift = np.where(kind == "a", 0.0, 2.0)
    x = rng.normal(shift, 1)
    return pd.DataFrame({"kind": kind, "x": x, "y": x + rng.normal(0, 0.7, n)})


@pytest.mark.parametrize(("shape", "given"), [
    ("full", {"x": "0.5:1.5"}), ("full", {"kind": "b", "x": "0.5:1.5"}), ("lowrank", {"y": "-1:0"}),
    ("diag", {"x": "0:2", "y": "0:2"}),
])  # fmt: skip
def test_conditions_agree_with_rejection(shape: str, given: dict[str, str]) -> None:
    """Draws under conditions follow the same law as unconditional draws that happen to meet them (two-sample z, 5 sigma)."""
    model = GMM(components=4, covariance=shape, rank=1, random_state=0).fit(Records("table", mixed(600, 0)))
    conditioned = model.sample(4000, given=given, random_state=1)
    free = model.sample(40_000, random_state=2)
    keep = np.ones(len(free), bool)
    for name, wanted in given.items():
        if ":" in wanted:
            low, high = map(float, wanted.split(":"))
            keep &= free[name].between(low, high).to_numpy()
            assert conditioned[name].between(low - 1e-9, high + 1e-9).all()
        else:
            keep &= (free[name] == wanted).to_numpy()
            assert (conditioned[name] == wanted).all()
    kept = free[keep]
    assert len(kept) > 500
    for name in ("x", "y"):
        a, b = conditioned[name], kept[name]
        z = (a.mean() - b.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(z) < 5
        assert abs(math.log(a.std() / b.std())) < 5 * math.sqrt(0.5 / len(a) + 0.5 / len(b)) * 1.5
    share = [(t["kind"] == "a").mean() for t in (conditioned, kept)]
    assert abs(share[0] - share[1]) < 5 * math.sqrt(0.25 / len(conditioned) + 0.25 / len(kept))


def test_several_ranges_need_independence_and_impossible_conditions_say_so() -> None:
    model = GMM(components=2, random_state=0).fit(Records("table", mixed(200, 0)))
    with pytest.raises(Problem, match="covariance"):
        model.sample(3, given={"x": "0:1", "y": "0:1"})
    with pytest.raises(Problem, match="at least 1"):
        GMM(components=0).fit(np.zeros((5, 2)))
    with pytest.raises(Problem, match="0 or more"):
        GMM(regularization=-1.0).fit(np.zeros((5, 2)))


def test_imputation_never_says_missing_and_respects_gates() -> None:
    frame = mixed(400, 3)
    rng = np.random.default_rng(0)
    frame.loc[rng.random(400) < 0.3, "y"] = np.nan
    frame.loc[rng.random(400) < 0.3, "kind"] = None
    for shape in ("full", "lowrank", "diag"):
        model = GMM(components=3, covariance=shape, random_state=0).fit(Records("table", frame))
        for how in ("draw", "mean", "mode"):
            full = model.impute(frame, how=how, random_state=0)
            assert full.notna().all().all()
            observed = frame["y"].notna()
            pd.testing.assert_series_equal(full["y"][observed], frame["y"][observed])


def test_the_label_is_part_of_the_density() -> None:
    """p(x) = sum of p(x, y) over labels, and p(y | x) classifies."""
    frame = mixed(500, 1)
    model = GMM(components=4, random_state=0).fit(Records("table", frame, target="kind"))
    both = [model.log_prob(Records("table", frame.assign(kind=k), target="kind")) for k in ("a", "b")]
    alone = model.log_prob(Records("table", frame.drop(columns="kind"), target=None))
    np.testing.assert_allclose(np.logaddexp(*both), alone, atol=1e-9)
    assert (np.where(both[0] > both[1], "a", "b") == frame["kind"]).mean() > 0.75  # Bayes: 0.84


# -- pieces ----------------------------------------------------------------------------------------------------------
def test_sampling_law() -> None:
    """Mean and covariance of 20,000 draws, within 5 standard errors of the mixture's own."""
    x = blobs(400, 3, 3, 8)
    model = fitted(GMM(components=3, random_state=0), numbers_only(x), x)
    drawn = model._sample(20_000, torch.Generator().manual_seed(0), None).x.numpy()
    w, m, c = model.weights_.numpy(), model.means_.numpy(), model.covariances_.numpy()
    mean = w @ m
    cov = np.einsum("k,kij->ij", w, c) + np.einsum("k,ki,kj->ij", w, m - mean, m - mean)
    sd = np.sqrt(np.diag(cov))
    assert (abs(drawn.mean(0) - mean) < 5 * sd / math.sqrt(20_000)).all()
    # A product of two columns has at most about 3 sd_i sd_j standard deviation (kurtosis of these mixtures below 8).
    assert (abs(np.cov(drawn.T) - cov) < 5 * 3 * np.outer(sd, sd) / math.sqrt(20_000)).all()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (6.0, 7.0), (-9.0, -8.0), (2.0, math.inf), (-math.inf, -30.0)])
def test_truncated_normal(low: float, high: float) -> None:
    a, b = torch.tensor([low]).double(), torch.tensor([high]).double()
    assert float(log_mass(a, b)) == pytest.approx(_log_mass(low, high), rel=1e-9)
    drawn = truncated(a.expand(2000), b.expand(2000), torch.Generator().manual_seed(0)).numpy()
    assert ((drawn >= low) & (drawn <= high)).all()
    assert kstest(drawn, truncnorm(low, high).cdf).pvalue > 1e-3


def _log_mass(low: float, high: float) -> float:
    if low > 0:
        low, high = -high, -low
    return float(norm.logcdf(high) + np.log1p(-np.exp(norm.logcdf(low) - norm.logcdf(high))))


def test_patterns_and_clusters() -> None:
    present = torch.tensor([[True, False], [True, True], [True, False]])
    found = {tuple(c.tolist()): r.tolist() for c, r in patterns(present)}
    assert found == {(0,): [0, 2], (0, 1): [1]}
    x = torch.cat([torch.zeros(20, 2), torch.ones(20, 2) * 9]) + 0.1 * torch.randn(
        40, 2, generator=torch.Generator().manual_seed(0)
    )
    centres = clusters(x, 2, torch.Generator().manual_seed(1))
    np.testing.assert_allclose(sorted(centres[:, 0].tolist()), [0, 9], atol=0.2)


def test_level_draws_follow_their_weights() -> None:
    """Chi-square with 3 degrees of freedom below 21.1: one false alarm in 10,000. A weight of zero is never drawn."""
    levels = Levels(Layout((Field("a", "category", levels=2), Field("b", "category", levels=4, absent=3))))
    weights = torch.tensor([[0.5, 0.5, 0.1, 0.2, 0.7, 0.0]]).double().expand(5000, -1)
    drawn = levels.draw(weights, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[:, 1].long(), minlength=4).numpy()
    wanted = 5000 * np.array([0.1, 0.2, 0.7])
    assert counts[3] == 0
    assert ((counts[:3] - wanted) ** 2 / wanted).sum() < 21.1
    assert levels.mode(weights)[0].tolist() == [0, 2]


def test_the_mean_behind_an_unknown_gate_is_that_of_draws() -> None:
    """Components that would often leave the cell empty count once, not twice: within 4 standard errors of 4,000 draws."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=800)
    x = pd.DataFrame({"a": rng.normal(10 * kind, 1).round(3), "b": rng.normal(20 * kind, 1).round(3)})
    x.loc[(kind == 1) & (rng.random(800) < 0.7), "a"] = np.nan
    model = GMM(components=2, random_state=0).fit(x)
    row = pd.DataFrame({"a": [np.nan], "b": [np.nan]})
    mean = float(model.impute(row, np.ones((1, 2), bool), how="mean")["a"].iloc[0])
    drawn = model.impute(pd.concat([row] * 4000, ignore_index=True), np.ones((4000, 2), bool), random_state=0)["a"]
    assert mean == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 4000**0.5)
