"""Two-sample AUC, KID, coverage, density, Frechet distance: closed forms, other libraries, planted collapse, known traps."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.linalg import sqrtm
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel

from genlearn.metrics.auc import auc_of, boosted, out_of_fold, two_sample_auc
from genlearn.metrics.coverage import coverage, coverage_null, density
from genlearn.metrics.frechet import frechet
from genlearn.metrics.kid import kid
from genlearn.metrics.neighbours import nearest, squared_distances


def normal(n, d=2, seed=0, loc=0.0, scale=1.0):
    return loc + scale * np.random.default_rng(seed).normal(size=(n, d))


# -- two-sample AUC --------------------------------------------------------------------------------------------------
def test_auc_of_agrees_with_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 200), rng.integers(2, 11, 150)
    expected = roc_auc_score(np.repeat([0, 1], [200, 150]), np.concatenate([a, b]))
    assert auc_of(a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classifier", ["linear", "trees"])
def test_auc_of_shifted_normals_is_the_closed_form(classifier):
    """N(0, 1) against N(delta, 1): the best classifier reaches Phi(delta / sqrt 2)."""
    delta, n = 1.0, 1500
    x, y = normal(n, 1, 1), normal(n, 1, 2, loc=delta)
    result = two_sample_auc(x, y, classifier=classifier)
    expected = norm.cdf(delta / math.sqrt(2))
    # sd of an AUC is below 0.5 / sqrt(n) = 0.013; trees lose about 0.02 to the best classifier by fitting noise.
    assert result.value == pytest.approx(expected, abs=0.04)
    assert result.low < result.value < result.high


@pytest.mark.parametrize("classifier", ["linear", "trees"])
def test_a_perfect_model_cannot_be_told(classifier):
    x, y = normal(400, 3, 1), normal(400, 3, 2)
    result = two_sample_auc(x, y, classifier=classifier)
    assert result.low < 0.5 < result.high


def test_separated_samples_are_always_told():
    assert two_sample_auc(normal(100), normal(100, seed=1, loc=20)).value == 1
    assert two_sample_auc(normal(100), normal(100, seed=1, loc=20), classifier="trees").value == 1


def test_trees_see_what_means_and_scales_hide():
    """Equal margins, opposite correlation: a linear classifier is blind to it, trees are not."""
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], 500)
    y = rng.multivariate_normal([0, 0], [[1, -0.9], [-0.9, 1]], 500)
    assert two_sample_auc(x, y).value < 0.6
    assert two_sample_auc(x, y, classifier="trees").value > 0.85


def test_trees_take_categories_and_missing_numbers():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 4, 800).astype(float)
    number = rng.normal(size=800)
    number[:400][level[:400] == 2] = np.nan
    x = np.stack([level, number], 1)
    assert two_sample_auc(x[:400], x[400:], classifier="trees", categorical=np.array([True, False])).value > 0.6


def test_no_record_is_scored_by_a_classifier_that_saw_it():
    """Random labels on distinct points: a classifier that had seen them would score far above one half."""
    x = normal(300, 30)
    a, b = out_of_fold(x[:150], x[150:], lambda x, y, t: boosted_scores(x, y, t))
    assert abs(auc_of(a, b) - 0.5) < 0.12  # three sd at n = 150


def boosted_scores(x, y, test):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return boosted(HistGradientBoostingClassifier, len(x), None, 0).fit(x, y).decision_function(test)


def test_few_and_degenerate_records():
    assert two_sample_auc(normal(5), normal(100)).value is None
    same = two_sample_auc(np.zeros((40, 2)), np.zeros((40, 2)), classifier="trees")
    assert same.value == 0.5
    assert same.low < 0.45
    assert same.high > 0.55
    assert two_sample_auc(np.zeros((40, 2)), np.zeros((40, 2))).value == 0.5
    # Small samples still split: 20 records a leaf would leave nothing to see here.
    assert two_sample_auc(normal(15), normal(15, seed=1, loc=9), classifier="trees").value == 1


# -- KID -------------------------------------------------------------------------------------------------------------
def test_kid_of_two_points_is_exact():
    """k(0,0) = 1, k(1,1) = 8, k(0,1) = 1: 1 + 8 - 2 = 7."""
    assert kid(np.zeros((40, 1)), np.ones((30, 1))).value == pytest.approx(7)


def test_kid_of_normals_is_the_closed_form():
    r"""In one dimension k = (xy + 1)^3 has features x^3, sqrt 3 x^2, sqrt 3 x: MMD^2 is their squared mean difference."""
    mu = 0.5
    expected = (mu**3 + 3 * mu) ** 2 + 3 * mu**4 + 3 * mu**2
    result = kid(normal(4000, 1, 1), normal(4000, 1, 2, loc=mu))
    assert result.low < expected < result.high


def test_kid_agrees_with_torchmetrics_and_scikit_learn():
    from torchmetrics.image.kid import poly_mmd

    x, y = normal(200, 6, 1), normal(200, 6, 2, loc=0.3)
    value = kid(x, y).value
    # float32 kernels of size about 1 summed over 40,000 pairs
    assert value == pytest.approx(float(poly_mmd(torch.tensor(x), torch.tensor(y))), abs=1e-5)
    xx, yy, xy = (polynomial_kernel(a, b, degree=3) for a, b in ((x, x), (y, y), (x, y)))
    mine = sum((k.sum() - np.trace(k)) / (200 * 199) for k in (xx, yy)) - 2 * xy.mean()
    assert value == pytest.approx(mine, abs=1e-5)


def test_kid_leaves_blocks_out_exactly():
    x, y = normal(45, 3, 1), normal(53, 3, 2)
    result = kid(x, y)
    exact = np.array([kid(x[np.arange(45) % 20 != k], y[np.arange(53) % 20 != k]).value for k in range(20)])
    # The spread is narrowed, by one factor for all blocks: pairs of records are at most half of it, and a third of that is taken out.
    factor = (result.blocks - result.blocks.mean()) / (exact - exact.mean())
    assert result.blocks.mean() == pytest.approx(exact.mean(), abs=1e-5)
    assert factor == pytest.approx(np.full(20, factor[0]), rel=1e-3)
    assert math.sqrt(5 / 6) - 1e-3 <= factor[0] <= 1


def test_kid_of_distant_samples_keeps_the_jackknife_as_it_is():
    """Far apart, what records add alone is nearly all there is: pairs' own share vanishes."""
    x, y = normal(200, 3, 1), normal(200, 3, 2, loc=4)
    exact = np.array([kid(x[np.arange(200) % 20 != k], y[np.arange(200) % 20 != k]).value for k in range(20)])
    assert np.std(kid(x, y).blocks) == pytest.approx(np.std(exact), rel=0.05)


def test_kid_is_unbiased_at_small_n():
    values = [kid(normal(20, 5, 2 * s), normal(20, 5, 2 * s + 1)).value for s in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(200)


# -- coverage and density --------------------------------------------------------------------------------------------
def test_coverage_and_density_agree_with_prdc():
    x, y = normal(300, 5, 1), normal(250, 5, 2, scale=0.8)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = compute_prdc(x, y, nearest_k=5)
    # Ties are broken by 1e-5 of the mean squared distance: at most one record in 300 changes side.
    assert coverage(x, y).value == pytest.approx(theirs["coverage"], abs=1 / 300 + 1e-9)
    assert density(x, y).value == pytest.approx(theirs["density"], rel=5e-3)


@pytest.mark.parametrize("d", [2, 30])
def test_coverage_of_a_perfect_model_is_its_null_in_any_dimension(d):
    values = [coverage(normal(120, d, 2 * s), normal(120, d, 2 * s + 1)).value for s in range(60)]
    assert np.mean(values) == pytest.approx(coverage_null(120, 120), abs=4 * np.std(values) / math.sqrt(60))


def test_coverage_of_a_perfect_model_is_its_null_where_records_repeat():
    """A table of categories: most neighbours are equally far, and counting ties one way only would miss the null."""
    rng = np.random.default_rng(0)
    values = [coverage(*np.eye(3)[rng.integers(0, 3, (2, 120, 2))].reshape(2, 120, 6)).value for _ in range(60)]
    assert np.mean(values) == pytest.approx(coverage_null(120, 120), abs=4 * np.std(values) / math.sqrt(60))


def test_coverage_null_by_counting():
    """One real record among n - 1 others and m generated: it is missed if its k nearest are all real."""
    assert coverage_null(3, 2, k=2) == pytest.approx(1 - (2 / 4) * (1 / 3))


def test_coverage_means_the_same_at_every_sample_size():
    big = coverage(normal(2400, 3, 1), normal(2400, 3, 2))
    assert big.n == 2400
    assert len(big.blocks) == 20
    assert big.value == pytest.approx(coverage_null(800, 800), abs=0.02)  # four sd of 2400 records
    assert "0.969" in big.note


def test_a_dropped_mode_costs_its_share_of_coverage():
    x = np.concatenate([normal(200, 2, 1), normal(200, 2, 2, loc=50)])[np.random.default_rng(0).permutation(400)]
    half = normal(400, 2, 3)
    expected = coverage_null(200, 400) / 2
    assert coverage(x, half).value == pytest.approx(expected, abs=0.04)
    assert coverage(x, half).high < coverage(x, np.concatenate([half[:200], half[200:] + 50])).low


def test_shrunk_variance_raises_density_and_lowers_coverage():
    x, shrunk, fair = normal(500, 8, 1), normal(500, 8, 2, scale=0.4), normal(500, 8, 3)
    assert density(x, shrunk).low > 1.5
    assert coverage(x, shrunk).high < coverage(x, fair).low
    assert density(x, fair).value == pytest.approx(1, abs=0.15)


def test_neighbours_are_exact_and_chunks_do_not_matter(monkeypatch):
    x, y = normal(50, 7, 1), normal(333, 7, 2)
    brute = np.linalg.norm(x[:, None].astype(np.float32) - y[None].astype(np.float32), axis=2)
    assert squared_distances(x, y) == pytest.approx(brute**2, rel=1e-4, abs=1e-4)
    index, distance, ratio = nearest(x, y)
    monkeypatch.setattr("genlearn.metrics.neighbours.CHUNK", 500)
    again, small, _ = nearest(x, y)
    assert index.tolist() == again.tolist() == brute.argmin(1).tolist()
    assert distance == pytest.approx(brute.min(1), rel=1e-5)
    assert ratio == pytest.approx(brute.min(1) / np.sort(brute, 1)[:, 1], rel=1e-5)
    assert small.tolist() == distance.tolist()
    # Far from the origin rounding is large, but a copy's distance is still 0 and not a rounding error.
    assert nearest(y[:5] + 1000, y + 1000)[1].tolist() == [0.0] * 5


# -- Frechet distance ------------------------------------------------------------------------------------------------
def test_frechet_of_scaled_data_is_exact():
    """Covariances C and 4 C commute: tr(C + 4 C - 4 C) = tr C."""
    x = normal(500, 4)
    x -= x.mean(0)
    assert frechet(x, 2 * x).value == pytest.approx(np.trace(np.cov(x.T)))
    assert frechet(x, x).value == pytest.approx(0, abs=1e-9)


def test_frechet_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(x.T), np.cov(y.T)
    theirs = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet(x, y).value == pytest.approx(theirs)


def test_frechet_warns_where_it_misleads():
    """The trap: at n = 100 and d = 64 a perfect model loses to one whose true distance is 0.64."""
    x, perfect, narrow = (normal(100, 64, s) for s in (1, 2, 3))
    assert frechet(x, perfect).value > frechet(x, 0.9 * narrow).value
    assert "do not compare" in frechet(x, perfect).note
    assert frechet(normal(2000), normal(2000)).note == ""
    assert frechet(x, perfect).low is None


def test_a_narrow_model_does_not_pass_for_a_perfect_one():
    """In 16 dimensions a model with 0.7 of the spread covers more than its share; density and the others tell."""
    x, perfect, narrow = normal(400, 16, 1), normal(400, 16, 2), normal(400, 16, 3, scale=0.7)
    assert coverage(x, narrow).value > coverage_null(400, 400)
    assert density(x, narrow).low > density(x, perfect).high
    assert kid(x, perfect).value < kid(x, narrow).value
    trees = [two_sample_auc(x, y, classifier="trees").value for y in (perfect, narrow)]
    assert trees[0] < trees[1]


@pytest.mark.parametrize("metric", [kid, coverage, density, frechet])
def test_too_few_records_give_no_number(metric):
    assert metric(normal(9), normal(50)).value is None
