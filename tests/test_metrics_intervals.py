"""Results, jackknife intervals and paired differences: closed forms and coverage by simulation."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from genlearn.metrics import METRICS, Result, bits_per_dim, nats, paired_difference
from genlearn.metrics.auc import two_sample_auc
from genlearn.metrics.coverage import coverage
from genlearn.metrics.intervals import block_ids, jackknife, jackknife_variance, mean_of
from genlearn.metrics.kid import kid


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).normal(size=20)
    left_out = (x.sum() - x) / 19
    result = jackknife(x.mean(), left_out, n=20)
    half = stats.t.ppf(0.975, 19) * x.std(ddof=1) / math.sqrt(20)
    assert result.low == pytest.approx(x.mean() - half)
    assert result.high == pytest.approx(x.mean() + half)


def test_jackknife_clips_to_the_range_and_needs_two_blocks():
    wide = jackknife(0.9, np.array([0.1, 0.9]), n=2, low=0, high=1)
    assert (wide.low, wide.high) == (0, 1)
    assert jackknife(0.9, np.array([0.9]), n=1).low is None


def test_blocks_are_equal_and_complete():
    counts = np.bincount(block_ids(2007))
    assert len(counts) == 20
    assert counts.max() - counts.min() <= 1
    assert block_ids(3).tolist() == [0, 1, 2]


def test_nats_is_the_mean_with_the_usual_interval():
    x = np.random.default_rng(1).normal(-3, 2, size=4000)
    result = nats(x)
    assert result.value == pytest.approx(x.mean())
    # A standard error from 20 blocks has a relative sd of 1 / sqrt(38) = 0.16; allow three of them.
    assert (result.high - result.low) / 2 == pytest.approx(2.09 * 2 / math.sqrt(4000), rel=0.5)


@pytest.mark.parametrize("n", [1, 5])
def test_nats_of_few_records_has_no_interval(n):
    result = nats(np.full(n, -2.0))
    assert result.value == -2
    assert result.low is None


def test_nats_says_how_many_records_are_impossible():
    result = nats(np.array([-1.0, -3.0, -np.inf]))
    assert result.value == -math.inf
    assert result.note == "1 of 3 records are impossible; the others have a mean of -2"
    assert nats(np.full(2, -np.inf)).note == "2 of 2 records are impossible"


def test_nats_refuses_what_is_no_log_density():
    assert nats(np.array([0.0, np.nan])).value is None
    assert "1 of 2" in nats(np.array([0.0, np.inf])).note
    assert not nats(np.array([])).known


def test_bits_per_dim_turns_the_interval_round():
    bits = bits_per_dim(Result(-2 * math.log(2), -4 * math.log(2), -math.log(2), 10), dims=2)
    assert (bits.value, bits.low, bits.high) == pytest.approx((1, 0.5, 2))
    assert bits_per_dim(Result.unavailable("x"), dims=2).value is None


def test_results_travel_as_json_without_blocks():
    result = jackknife(0.5, np.array([0.4, 0.6]), n=2, note="hm")
    spec = json.loads(json.dumps(result.to_json()))
    assert set(spec) == {"value", "low", "high", "n", "note"}
    assert Result.from_json(spec) == result
    assert Result.from_json(spec).blocks is None


def test_mean_of_two_spaces_keeps_their_common_noise():
    noise = np.random.default_rng(0).normal(size=20)
    same = mean_of([jackknife(0.5, 0.5 + noise, n=9), jackknife(0.7, 0.7 + noise, n=9)])
    opposite = mean_of([jackknife(0.5, 0.5 + noise, n=9), jackknife(0.7, 0.7 - noise, n=9)])
    assert same.value == opposite.value == pytest.approx(0.6)
    assert jackknife_variance(same.blocks) == pytest.approx(jackknife_variance(noise))
    assert jackknife_variance(opposite.blocks) == pytest.approx(0)
    assert mean_of([Result(0.5, n=1), Result.unavailable("none", 1)]).value is None
    assert mean_of([Result(0.5, n=1), Result(0.7, n=1)]) == Result(0.6, n=1)


# -- paired differences ----------------------------------------------------------------------------------------------
def test_noise_of_the_shared_records_cancels():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=20), 0.01 * rng.normal(size=20)
    a, b = jackknife(0.7, 0.7 + shared, n=99), jackknife(0.6, 0.6 + shared + own, n=99)
    difference = paired_difference([a], [b])
    assert difference.value == pytest.approx(0.1)
    assert difference.high - difference.low < 0.05 * (a.high - a.low)
    assert "one training seed" in difference.note


def test_seeds_that_differ_widen_the_interval():
    flat = np.zeros(20)
    a = [jackknife(v, v + flat, n=99) for v in (0.6, 0.7, 0.8)]
    b = [jackknife(v, v + flat, n=99) for v in (0.5, 0.5, 0.5)]
    difference = paired_difference(a, b)
    # Only the seeds of `a` vary: Welch's interval with sd 0.1, three seeds, two degrees of freedom.
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (difference.value, difference.high) == pytest.approx((0.2, 0.2 + half))
    assert difference.note == ""


def test_a_model_does_not_differ_from_itself():
    a = jackknife(0.7, 0.7 + np.random.default_rng(0).normal(size=20), n=99)
    same = paired_difference([a], [a])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_differences_that_cannot_be_told():
    a = jackknife(0.7, np.full(20, 0.7), n=99)
    assert paired_difference([], [a]).value is None
    assert paired_difference([a], [Result.unavailable("failed", 9)]).note == "failed"
    assert paired_difference([a], [Result(0.5, n=9)]).value is None
    assert "different numbers" in paired_difference([a], [jackknife(0.7, np.full(10, 0.7), n=10)]).note


def test_paired_intervals_cover():
    covered = 0
    for trial in range(50):
        rng = np.random.default_rng(trial)
        real, x, y = rng.normal(size=(3, 200))
        block = block_ids(200)

        def result(fake, real=real, block=block):
            left_out = [fake[block != k].mean() - real[block != k].mean() for k in range(20)]
            return jackknife(fake.mean() - real.mean(), np.array(left_out), n=200)

        difference = paired_difference([result(x)], [result(y)])
        covered += difference.low <= 0 <= difference.high
    # 50 draws at 95 %: fewer than 43 would happen once in 80 runs, and the seeds are fixed.
    assert covered >= 43


# -- coverage of the headline intervals ------------------------------------------------------------------------------
def linear(x, y):
    return two_sample_auc(x, y)


@pytest.mark.parametrize("shift", [0.0, 0.5], ids=["alike", "apart"])
@pytest.mark.parametrize("metric", [linear, kid, coverage], ids=["auc", "kid", "coverage"])
def test_intervals_cover_the_expected_value(metric, shift):
    """50 simulated pairs; the estimand is the metric's expected value at this n, taken from 150 pairs."""
    results = []
    for trial in range(150):
        rng = np.random.default_rng(trial)
        x, y = rng.normal(size=(2, 100, 4))
        results.append(metric(x, y + np.array([shift, 0, 0, 0])))
    expected = np.mean([r.value for r in results])
    covered = sum(r.low <= expected <= r.high for r in results[:50])
    assert covered >= 43
    # Not by being wide: the mean half width stays below 2.5 times what the scatter of values calls for.
    half = np.mean([(r.high - r.low) / 2 for r in results])
    assert half < 2.5 * 1.96 * np.std([r.value for r in results])


def test_every_metric_has_its_card():
    assert {"auc", "kid_a", "coverage", "useful", "nats", "copies", "active_units"} <= set(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.explain.count(". ") == 1
        assert metric.question.endswith("?")
        assert callable(metric.fn)
        assert metric.needs <= {"table", "image", "labels", "latent", "scores"}


def test_a_share_of_one_is_not_certain():
    """Eighteen of eighteen covered: the rule of three, not an interval of width 0."""
    sure = jackknife(1.0, np.ones(18), n=18, low=0.0, high=1.0)
    assert (sure.low, sure.high) == pytest.approx((1 - 3 / 18, 1))
    assert jackknife(2.0, np.full(18, 2.0), n=18).low == 2
