"""The tail test for copies: planted copies are found, honest models are not accused."""

import json
import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from genlearn.metrics import copies_of, tail_test
from genlearn.metrics.neighbours import Nearest, nearest


def at(distance, ratio=None):
    """Return neighbours at these distances; without ratios these say nothing."""
    distance = np.asarray(distance)
    return Nearest(np.zeros(len(distance), int), distance, np.ones(len(distance)) if ratio is None else ratio)


def test_a_copying_model_has_the_closed_form_p_value():
    held, fake = np.arange(1.0, 301), np.zeros(200)
    found = tail_test(at(fake), at(held))
    assert found.flag
    assert found.duplicates == found.near == 200
    # All 200 generated and none of 300 held-out records are 0, or nearer than the nearest held-out one: one split of 500 is so.
    assert found.p_near == found.p_exact == pytest.approx(1 / math.comb(500, 200), rel=1e-6)
    assert found.p_ratio == 1
    assert found.note == "200 of 200 generated records equal a training record, where 0.0 would by chance"


def test_counts_and_threshold_by_hand():
    held = np.arange(1.0, 10_001)
    fake = np.concatenate([np.full(40, 9.5), np.full(960, 1e6)])
    found = tail_test(at(fake), at(held))
    assert found.threshold == 10  # rank 0.001 n
    assert (found.near, found.duplicates, found.n, found.held_out) == (40, 0, 1000, 10_000)
    assert found.p_near == pytest.approx(fisher_exact([[40, 960], [10, 9990]], "greater").pvalue)
    assert found.p_exact == 1


def test_too_few_held_out_records_to_tell():
    found = tail_test(at(np.zeros(300)), at(np.arange(1.0, 200)))
    assert found.flag is None
    assert found.p_value is None
    assert found.note.startswith("too few to tell: 199")
    assert found.duplicates == 300


def test_honest_models_are_rarely_accused():
    """2000 null draws; four tests at 1 % that are far from exact could accuse in 4 %, Fisher's test is conservative besides."""
    rng = np.random.default_rng(0)

    def drawn(n):
        return at(rng.exponential(size=n), rng.random(n))

    accused = sum(tail_test(drawn(300), drawn(400)).flag for _ in range(2000))
    assert accused <= 60


def test_a_table_that_repeats_itself_accuses_nobody():
    """Half of all real rows are exact duplicates: an honest model has as many."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (3, 400, 3)).astype(float)
    found = copies_of(*rows)
    assert found.flag is False
    assert found.duplicates > 300


@pytest.mark.parametrize("grain", [0.0, 1e-3], ids=["exact", "noisy"])
def test_one_planted_percent_is_found(grain):
    rng = np.random.default_rng(1)
    train, held, fake = rng.normal(size=(4000, 6)), rng.normal(size=(1500, 6)), rng.normal(size=(1500, 6))
    assert copies_of(train, held, fake).flag is False
    fake[:15] = train[100:115] + grain * rng.normal(size=(15, 6))
    found = copies_of(train, held, fake)
    assert found.flag
    assert found.duplicates == (15 if grain == 0 else 0)
    assert {(i, j) for i, j, _ in found.pairs} <= {(k, 100 + k) for k in range(15)}
    assert len(found.pairs) == 8
    assert [d for *_, d in found.pairs] == sorted(d for *_, d in found.pairs)


def test_noisy_copies_are_found_among_real_duplicates():
    """A few held-out rows equal training rows; a threshold of 0 would let noisy copies pass."""
    rng = np.random.default_rng(2)
    train, held = rng.normal(size=(3000, 5)), rng.normal(size=(1000, 5))
    held[:8] = train[:8]
    fake = train[500:1500] + 1e-4 * rng.normal(size=(1000, 5))
    found = copies_of(train, held, fake)
    assert found.threshold > 0
    assert found.flag
    assert found.p_exact == 1
    json.dumps(found.to_json())


def test_everything_a_duplicate():
    found = tail_test(at(np.zeros(300)), at(np.zeros(300)))
    assert found.flag is False
    assert found.threshold == 0


def test_noisy_copies_are_found_where_records_lie_apart():
    """Half of the records lie so dense that distances of noisy copies elsewhere are nothing special; their ratios are."""
    rng = np.random.default_rng(3)

    def drawn(n):
        return rng.normal(size=(n, 20)) * np.where(rng.random(n) < 0.5, 0.02, 1.0)[:, None]

    train, held, fake = drawn(3000), drawn(2000), drawn(2000)
    assert copies_of(train, held, fake).flag is False
    spread = train[np.linalg.norm(train, axis=1) > 2][:20]
    fake[:20] = spread + 0.3 * rng.normal(size=spread.shape)
    found = copies_of(train, held, fake)
    assert found.flag
    assert found.p_near > 0.01
    assert "nearer to one training record than to any other" in found.note


def test_a_copy_of_a_repeated_record_is_no_evidence_by_ratio():
    train = np.array([[0.0], [0.0], [9.0]])
    found = nearest(np.array([[0.0], [9.0], [1.0]]), train)
    assert found.ratio.tolist() == [1.0, 0.0, 1.0]
    assert nearest(np.array([[1.0]]), train[2:]).ratio.tolist() == [0.0]
