"""The small form of `python -m benchmarks.metrics`: intervals cover, better models are chosen, changes and copies are seen."""

import numpy as np
import pytest

from benchmarks.metrics.choice import outcome
from benchmarks.metrics.copies import Pool, mixed, table_pool
from benchmarks.metrics.coverage import NAIVE, bootstrapped, covered, one
from benchmarks.metrics.detection import table_signs
from genlearn.metrics import Result
from genlearn.metrics.alike import differences
from genlearn.metrics.coverage import coverage_null
from genlearn.metrics.groups import group_shares
from genlearn.metrics.variance import variance_ratio

CHEAP = [
    "KID, 64 features, n = 300, shift 0.0, scale 1.0",
    "KID, 16 features, n = 300, shift 0.3, scale 1.0",
    "coverage, 16 features, n = 300, shift 0.0, scale 1.0",
    "coverage, 4 features, n = 300, shift 1.0, scale 1.0",
    "AUC difference of two models, logistic, n = 300, shifts 0.2 and 0.5",
    "useful, classes by logistic regression, n = 300, model tilted 1.0",
    "nats, Student-t records (5 degrees), n = 300",
]


@pytest.mark.parametrize("name", CHEAP)
def test_intervals_hold_the_expected_value(name):
    # 50 pairs at 95 %: fewer than 43 would happen once in 80 runs, and the seeds are fixed.
    results = [one(name, pair) for pair in range(50)]
    assert covered(results) >= 43 / 50
    # Not by being wide: an interval 1.5 times as wide as need be covers 99.5 %, and the sd over 50 pairs errs by a tenth.
    half = np.mean([(r.high - r.low) / 2 for r in results])
    assert half < 1.8 * 1.96 * np.std([r.value for r in results])


@pytest.mark.parametrize("name", NAIVE)
def test_the_naive_bootstrap_fails_where_records_must_not_repeat(name):
    results = [bootstrapped(NAIVE[name], np.random.default_rng(pair), n=60, d=8) for pair in range(8)]
    assert covered(results) <= 0.5


def test_a_perfect_model_is_not_beaten():
    """True Frechet distance 0 against 0.64 in 64 dimensions, ten draws at n = 300."""
    found = [outcome(seed, n=300, change="mean + 0.8 in one column", classifier="linear")[0] for seed in range(10)]
    assert "wrong" not in found
    assert found.count("right") >= 5


def test_changes_are_told_and_equal_laws_are_not():
    assert "coverage" in table_signs("one of ten modes dropped", 0)
    assert "variance" in table_signs("variance x 0.9", 0)
    assert {"auc", "kid_a"} & set(table_signs("one column shifted by 0.3 sd", 0))
    assert table_signs("equal laws", 0) == ()


def test_planted_copies_are_flagged_with_noise_and_without():
    pool = table_pool(mixed(3000, 1), mixed(4500, 2))
    assert isinstance(pool, Pool)
    # Of 20 draws: 95 % found, 5 % accused, and one more by chance.
    assert pool.flagged("honest", n=2000, draws=20) <= 0.1
    assert pool.flagged("exact", n=2000, draws=20) >= 0.9
    assert pool.flagged("noisy", n=2000, draws=20) >= 0.9


# -- the rule ------------------------------------------------------------------------------------------------------------
def test_the_rule_draws_intervals_out_and_looks_to_the_bad_side():
    """95 % intervals reach 1.3 times as far: 0.53 [0.51 0.55] then ends at 0.504, 0.53 [0.505 0.55] at 0.4975."""
    assert differences({"auc": Result(0.53, 0.51, 0.55, 99)}) == ("auc",)
    assert differences({"auc": Result(0.53, 0.505, 0.55, 99)}) == ()
    assert differences({"auc": Result(0.40, 0.35, 0.45, 99)}) == ()
    assert differences({"variance": Result(1.2, 1.1, 1.3, 99)}) == differences({"variance": Result(0.8, 0.7, 0.9, 99)})
    null = coverage_null(750, 750)
    below = Result(null - 0.02, null - 0.03, null - 0.01, 1500)  # two blocks of 750; ends 0.007 below the null
    assert differences({"coverage": below}) == ("coverage",)
    assert differences({"coverage": Result(0.99, 0.985, 0.995, 99)}) == ()
    assert differences({"kid_a": Result.unavailable("few", 3), "auc": Result(0.9, n=3)}) == ()


# -- group shares ----------------------------------------------------------------------------------------------------------
def test_group_shares_of_kinds_that_are_never_drawn():
    """Three kinds, of which two are drawn: 1/3, and twice (1/2 - 1/3)^2 / (1/2 + 1/3); some 95 of 100 intervals hold it."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        real, fake = (100.0 * np.eye(3)[rng.integers(kinds, size=300)] for kinds in (3, 2))
        found.append(group_shares(real, fake))
    truth = 1 / 3 + 2 * (1 / 6) ** 2 / (5 / 6)
    assert np.mean([r.value for r in found]) == pytest.approx(truth, abs=0.01)
    assert 88 <= sum(r.low <= truth <= r.high for r in found) <= 100


def test_group_shares_of_one_law_are_equal():
    rng = np.random.default_rng(1)
    found = [group_shares(*rng.normal(size=(2, 300, 4))) for _ in range(40)]
    assert abs(np.mean([r.value for r in found])) < 0.005
    assert sum(bool(differences({"groups": r})) for r in found) <= 3, "1 % each"
    assert group_shares(np.ones((60, 2)), np.ones((60, 2))).note == "the records do not vary"
    assert group_shares(np.ones((9, 2)), np.ones((9, 2))).value is None


def test_group_shares_of_the_same_records_have_an_interval_too():
    same = np.random.default_rng(2).normal(size=(300, 4))
    found = group_shares(same, same)
    assert found.low <= found.value < 0 <= found.high < 0.05


# -- variance ratio --------------------------------------------------------------------------------------------------------
def test_variance_ratio_is_the_ratio_of_traces_and_leaves_blocks_out_exactly():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(45, 3)) + 100, 2 * rng.normal(size=(53, 3)) - 7
    found = variance_ratio(x, y)
    assert found.value == pytest.approx(y.var(0).sum() / x.var(0).sum())
    keep_x, keep_y = np.arange(45) % 20 != 7, np.arange(53) % 20 != 7
    assert found.blocks[7] == pytest.approx(y[keep_y].var(0).sum() / x[keep_x].var(0).sum())
    assert found.low < 4 < found.high


def test_variance_ratio_of_what_does_not_vary():
    assert variance_ratio(np.ones((30, 2)), np.ones((30, 2))).note == "real records do not vary"
    assert variance_ratio(np.ones((3, 2)), np.ones((30, 2))).value is None
    assert variance_ratio(np.random.default_rng(0).normal(size=(30, 2)), np.ones((30, 2))).value == 0
