"""What a latent space holds and what is wrong with it: parts of the KL, clusters and probes, every diagnosis on a trained model."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from genlearn.data.records import Dataset, as_records
from genlearn.metrics.latent import kl, posterior_auc
from genlearn.metrics.latent_diagnosis import Finding, diagnose
from genlearn.metrics.latent_information import information
from genlearn.metrics.latent_uses import linear_probe, purity
from genlearn.models import VAE, Marginals


# -- information -------------------------------------------------------------------------------------------------------
def test_the_parts_of_the_kl_sum_to_it() -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(400, 3)), rng.uniform(0.5, 1, size=(400, 3))
    mutual, aggregate = information(mean, std)
    # The closed form against 1,600 draws: the difference has a standard deviation of about 1.2 nats a draw.
    assert mutual.value + aggregate.value == pytest.approx(kl(mean, std).value, abs=0.15)


def test_information_of_a_gaussian_channel() -> None:
    r"""z = mean + noise with variances 0.8 and 0.2: \(\frac12 \log(1 / 0.2)\) nats, and the sum is standard normal."""
    mean = math.sqrt(0.8) * np.random.default_rng(0).normal(size=(1500, 1))
    mutual, aggregate = information(mean, np.full_like(mean, math.sqrt(0.2)))
    assert mutual.value == pytest.approx(0.5 * math.log(5), abs=0.05)
    assert aggregate.value == pytest.approx(0, abs=0.03)
    moved = information(mean + 2, np.full_like(mean, math.sqrt(0.2)))
    assert moved.aggregate.value == pytest.approx(2.0, abs=0.15), "the KL of N(2, 1) from N(0, 1)"
    assert moved.mutual.value == pytest.approx(mutual.value, abs=1e-9)


def test_information_beyond_the_logarithm_of_the_records_cannot_be_seen() -> None:
    mean = 1000.0 * np.arange(50)[:, None]
    mutual, aggregate = information(mean, np.ones_like(mean))
    assert mutual.value == pytest.approx(math.log(50))
    assert "at most log n = 3.9" in mutual.note
    assert aggregate.note.startswith("an upper estimate")


def test_the_posterior_is_compared_with_the_prior_of_the_model() -> None:
    rng = np.random.default_rng(0)
    mean, std = 3 + 0.8 * rng.normal(size=(500, 2)), np.full((500, 2), 0.6)
    own = posterior_auc(mean, std, prior=3 + rng.normal(size=(500, 2)))
    assert own.low < 0.5 < own.high
    assert posterior_auc(mean, std).value > 0.95


# -- uses --------------------------------------------------------------------------------------------------------------
def test_purity_and_probe_of_clusters_with_mixed_labels() -> None:
    """Two far clusters, a quarter of the second mislabelled: purity 1 - 1/8; a linear classifier cannot do better."""
    x = np.repeat([[0.0, 0.0], [9.0, 1.0]], 200, 0)
    y = np.repeat([0, 1], 200)
    y[200:250] = 0
    assert purity(x, y).value == pytest.approx(0.875)
    assert linear_probe(x, y, x, y).value == pytest.approx(0.875)
    shuffled = np.random.default_rng(0).permutation(y)
    assert purity(x, shuffled).value == pytest.approx(max(y.mean(), 1 - y.mean()), abs=0.03)


def test_the_probe_is_linear_and_its_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1200, 2))
    straight = x[:, 0] + 0.5 * rng.normal(size=1200) > 0
    ring = np.hypot(*x.T) > 1.2
    found = linear_probe(x[:600], straight[:600], x[600:], straight[600:])
    best = 1 - math.atan(0.5) / math.pi  # the sign of the first number is the best guess
    assert found.low < best < found.high
    assert linear_probe(x[:600], ring[:600], x[600:], ring[600:]).value < 0.65
    assert linear_probe(x, np.zeros(1200), x, np.zeros(1200)).value is None


# -- diagnosis ---------------------------------------------------------------------------------------------------------
SMALL: dict[str, Any] = {"hidden": (32,), "steps": 300, "lr": 5e-3, "batch": 64, "samples": 50, "random_state": 0}


def curve(n: int = 900) -> Dataset:
    """Three numbers that follow two hidden ones, with noise."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 2))
    x = np.stack([z[:, 0], z[:, 1], z.sum(1)], 1) + 0.4 * rng.normal(size=(n, 3))
    records = as_records(pd.DataFrame(x, columns=["a", "b", "c"]))
    third = n // 3
    return Dataset("curve", *(records.take(slice(k * third, (k + 1) * third)) for k in range(3)))


def clusters(n: int = 900) -> Dataset:
    rng = np.random.default_rng(0)
    x = 0.05 * rng.normal(size=(n, 2)) + rng.integers(3, size=(n, 1)) * [[1.0, -1.0]]
    records = as_records(pd.DataFrame(x, columns=["a", "b"]))
    third = n // 3
    return Dataset("clusters", *(records.take(slice(k * third, (k + 1) * third)) for k in range(3)))


def names(found: list[Finding]) -> set[str]:
    for finding in found:
        assert "\n" not in str(finding)
        assert str(finding).count(". ") >= 1
    return {finding.name for finding in found}


def test_a_healthy_model_is_left_alone() -> None:
    data = curve()
    assert diagnose(VAE(latent=2, **SMALL).fit(data), data) == []


def test_collapse_is_named_with_the_settings_that_mend_it() -> None:
    data = curve()
    (found,) = diagnose(VAE(latent=2, beta=60.0, **SMALL).fit(data), data)
    assert found.name == "collapse"
    assert "none of 2 latent dimensions" in found.problem
    assert "--beta (now 60)" in found.remedy
    assert "--free-nats" in found.remedy


def test_latent_dimensions_that_are_not_needed() -> None:
    data = curve()
    (found,) = diagnose(VAE(latent=16, **SMALL | {"steps": 800}).fit(data), data)
    assert found.name == "spare"
    assert re.match("only [1-3] of 16 latent dimensions are used", found.problem)


def test_a_kl_that_costs_more_than_it_brings() -> None:
    """Next to no price on it in training."""
    data = clusters()
    found = diagnose(VAE(latent=4, beta=1e-4, **SMALL).fit(data), data)
    assert "dear" in names(found)
    assert "--beta (now 0.0001)" in next(f for f in found if f.name == "dear").remedy


def test_a_prior_with_holes() -> None:
    """Three clusters of codes in one normal law; a learned mixture has room for them."""
    data = clusters()
    found = diagnose(VAE(latent=2, **SMALL).fit(data), data)
    assert names(found) == {"holes"}
    assert "--prior (now normal)" in found[0].remedy
    learned = diagnose(VAE(latent=2, prior="mixture", parts=6, **SMALL).fit(data), data)
    assert "holes" not in names(learned), "a prior of the model's own is what counts"


def test_a_score_that_rests_on_luck() -> None:
    """A proposal that training did not fit to 64 pixels, and one that it did fit to three numbers."""
    images = load_digits().images.astype("uint8")
    model: Any = VAE(latent=8, beta=0.02, **SMALL | {"samples": 20, "steps": 200}).fit(images[:1200])
    (found,) = (f for f in diagnose(model, images[1200:]) if f.name == "luck")
    assert "--samples (now 20)" in found.remedy
    data = curve()
    model = VAE(latent=2, **SMALL).fit(data)
    assert "luck" not in names(diagnose(model, data))


def test_images_that_were_given_as_rows() -> None:
    flat = load_digits().data[:300]
    for rows in (flat, flat / 255):
        (found,) = diagnose(Marginals(random_state=0).fit(rows), rows)
        assert found.name == "flat"
        assert "(n, 8, 8)" in found.remedy
    model = Marginals(random_state=0).fit(load_digits().images[:300].astype("uint8"))
    assert diagnose(model, load_digits().images[300:500].astype("uint8")) == []


def test_numbers_out_of_range() -> None:
    x = np.exp(3.0 * np.random.default_rng(0).normal(size=(2000, 2)))
    (found,) = diagnose(Marginals(random_state=0).fit(x), x)
    assert found.name == "range"
    assert "standard deviations from their mean" in found.problem
    frame = pd.DataFrame(x, columns=["a", "b"])
    assert diagnose(Marginals(random_state=0).fit(frame), frame) == [], "a scale chosen by column"


def test_too_few_records() -> None:
    x = np.random.default_rng(0).normal(size=(150, 2))
    (found,) = diagnose(Marginals(random_state=0).fit(x), x[:40])
    assert found.name == "few"
    assert diagnose(Marginals(random_state=0).fit(x), x) == []
