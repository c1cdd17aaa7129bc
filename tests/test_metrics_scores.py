"""The VAE's score against exact log densities; the full run is `python -m benchmarks.metrics scores`."""

import numpy as np
import pytest

from benchmarks.metrics.scores import BAR, Linear, gaps


@pytest.mark.parametrize(("d", "latent"), [(20, 5), (50, 10)])
def test_the_score_rises_to_the_exact_value(d, latent):
    elbo, few, many = gaps(Linear.drawn(d, latent), (1, 10, 200), n=100, repeats=3).mean(1)
    # Errors of 100 records are independent: 0.03, 0.01 and 0.003 nat over three sets of noise.
    assert elbo - 0.1 > few > many > -0.01
    assert many < BAR


def test_records_have_importance_noise_of_their_own():
    """With one noise for all records the mean over 400 of them would err as much as one of them does."""
    linear = Linear.drawn(20, 5)
    one = gaps(linear, (10,), n=1, repeats=12).std()
    assert gaps(linear, (10,), n=400, repeats=12).std() < 0.3 * one
    model = linear.vae()
    x = linear.draw(model, 30)
    assert model.log_prob(x[:7]) == pytest.approx(model.log_prob(x)[:7], abs=1e-4)


def test_the_exact_value_is_that_of_the_records_drawn():
    """Mean of the exact log density = minus the entropy of the normal, in the units of the records."""
    linear = Linear.drawn(20, 5)
    model = linear.vae()
    x = linear.draw(model, 4000)
    cov = np.cov(x.T)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * cov)[1]
    # The sample entropy of 4000 records in 20 dimensions errs by 20 * 21 / (4 * 4000) = 0.03, the mean by sqrt(10 / 4000) = 0.05.
    assert linear.exact(model, x).mean() == pytest.approx(-entropy, abs=0.15)
