"""Unknown values under latent variable models, against linear-Gaussian models with the known answer, and against mixed tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.metrics.scores import Linear
from benchmarks.variational.bounds import orthogonal
from genlearn.models import VAE

COPIES = 1500
UNKNOWN = slice(5, 8)


def conditional(linear: Linear, model: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the unknown codes of one record given the others."""
    code = model.codec_.encode(model._records_of(x, None)).x.double().numpy()[0]
    whole = linear.covariance
    known = np.setdiff1d(np.arange(len(whole)), np.arange(len(whole))[UNKNOWN])
    gain = whole[UNKNOWN][:, known] @ np.linalg.inv(whole[np.ix_(known, known)])
    return gain @ code[known], whole[UNKNOWN, UNKNOWN] - gain @ whole[known][:, UNKNOWN]


def filled(model: Any, x: np.ndarray, how: str, copies: int) -> np.ndarray:
    """Return the unknown codes of copies of one record, filled in."""
    holes = np.repeat(x, copies, 0)
    holes[:, UNKNOWN] = np.nan
    done = model.impute(holes, how=how, random_state=0)
    np.testing.assert_array_equal(np.delete(done, np.r_[UNKNOWN], 1), np.delete(holes, np.r_[UNKNOWN], 1))
    return model.codec_.encode(model._records_of(done, None)).x.double().numpy()[:, UNKNOWN]


@pytest.mark.parametrize(
    ("linear", "filling", "slack"),
    [
        (orthogonal(8, 3), "gibbs", 0.0),
        (orthogonal(8, 3), "resample", 0.1),
        (Linear.drawn(8, 3), "resample", 0.1),
        (Linear.drawn(8, 3), "anneal", 0.1),
    ],
    ids=["gibbs, exact encoder", "resample, exact encoder", "resample, encoder too simple", "anneal"],
)
def test_draws_and_means_follow_the_exact_conditional_law(linear: Linear, filling: str, slack: float) -> None:
    """Means within 4.5 standard errors, covariances within 15 % (about 4 of theirs), and a slack for 50 sweeps or 8 chains."""
    model = linear.vae().set_params(filling=filling)
    x = linear.draw(model, 1)
    mean, covariance = conditional(linear, model, x)
    sd = np.sqrt(covariance.diagonal())
    drawn = filled(model, x, "draw", COPIES)
    assert np.abs(drawn.mean(0) - mean) / sd == pytest.approx(0, abs=4.5 / np.sqrt(COPIES) + slack)
    assert np.cov(drawn.T) / np.outer(sd, sd) == pytest.approx(covariance / np.outer(sd, sd), abs=0.15 + slack)
    # Means over draws of one record: their own mean over many copies is sharp.
    averaged = filled(model, x, "mean", 200)
    assert np.abs(averaged.mean(0) - mean) / sd == pytest.approx(0, abs=0.05 + slack)
    assert (averaged.std(0) < 0.6 * sd).all()


def test_resampling_and_annealing_correct_an_encoder_that_misses_the_posterior() -> None:
    """An encoder that goes half of the way from the prior's mean to the posterior's: weights take most of the bias away, chains all."""
    linear = orthogonal(8, 3)
    model = linear.vae()
    model.net_["encoder"].gain *= 0.5
    model.net_["encoder"].log_sd += np.log(1.4)
    x = linear.draw(model, 1)
    mean, covariance = conditional(linear, model, x)
    bias = {
        filling: np.abs(filled(model.set_params(filling=filling), x, "draw", 800).mean(0) - mean)
        for filling in ("gibbs", "resample", "anneal")
    }
    assert bias["gibbs"].max() > 0.6 * np.sqrt(covariance.diagonal().max())
    assert bias["resample"].max() < 0.4 * bias["gibbs"].max()
    assert bias["anneal"].max() < 0.15 * bias["gibbs"].max()


def test_tables_are_completed_as_the_model_has_them() -> None:
    """A number that the category decides, 0 for a and 10 for b, against the model's own rows of each category."""
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b"], 1500, p=[0.6, 0.4])
    frame = pd.DataFrame({"kind": kind, "size": np.where(kind == "a", 0, 10) + rng.normal(scale=0.5, size=1500)})
    model = VAE(latent=2, hidden=(64,), steps=1000, lr=3e-3, random_state=0).fit(frame)
    own = model.sample(5000, random_state=0).groupby("kind")["size"].mean()
    numbers = pd.DataFrame({"kind": ["a"] * 200 + ["b"] * 200, "size": np.nan})
    levels = pd.DataFrame({"kind": None, "size": [0.2, 9.8]})
    for filling, slack in (("gibbs", 3.0), ("resample", 1.5), ("anneal", 1.5)):
        model.set_params(filling=filling)
        for how in ("draw", "mean"):
            found = model.impute(numbers, how=how, random_state=0).groupby("kind")["size"].mean()
            assert found.to_numpy() == pytest.approx(own.to_numpy(), abs=slack)
        for how in ("draw", "mean", "mode"):
            assert list(model.impute(levels, how=how, random_state=0)["kind"]) == ["a", "b"]
