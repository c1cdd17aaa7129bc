"""Bounds on log densities: exact values of linear-Gaussian models, unbiased weights, order, labels summed out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.metrics.scores import Linear
from benchmarks.variational.bounds import orthogonal
from genlearn.errors import MissingCapability, Problem
from genlearn.models import GMM, HVAE, VAE
from genlearn.nn.annealing import Start, annealed, powers

BAR = 0.05


@pytest.fixture(scope="module", params=[(8, 3), (20, 5)], ids=str)
def exact(request: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """A model whose encoder is the exact posterior, records of it and their exact log densities."""
    linear = orthogonal(*request.param)
    model = linear.vae()
    x = linear.draw(model, 40)
    return model, x, linear.exact(model, x)


def test_every_bound_is_exact_where_the_proposal_is_the_posterior(exact: Any) -> None:
    """All weights of a record are equal: errors are those of float32."""
    model, x, truth = exact
    found = model.bounds(x, draws=5, ais=20, chains=2)
    assert found.elbo.values == pytest.approx(truth, abs=2e-3)
    assert found.iw.values == pytest.approx(truth, abs=2e-3)
    assert found.ais.values == pytest.approx(truth, abs=2e-3)


def test_annealing_from_the_prior_reaches_the_exact_value() -> None:
    """Three standard errors lie within the bar."""
    linear = orthogonal(8, 3)
    model = linear.vae()
    x = linear.draw(model, 20)
    found = model.bounds(x, draws=1, ais=400, chains=16, start="prior").ais
    assert found.value == pytest.approx(linear.exact(model, x).mean(), abs=BAR)
    assert found.error < BAR / 3


def test_bounds_come_in_order_where_the_proposal_is_not_the_posterior() -> None:
    """Columns of W that are not orthogonal: the encoder's diagonal normal leaves about 0.9 nat."""
    linear = Linear.drawn(60, 20)
    model = linear.vae()
    x = linear.draw(model, 40)
    truth = linear.exact(model, x).mean()
    found = model.bounds(x, draws=20, ais=60, chains=8)
    assert found.elbo.value + 0.3 < found.iw.value < found.ais.value + 3 * found.ais.error
    assert found.ais.value == pytest.approx(truth, abs=BAR)
    assert list(found.named) == ["ELBO", "IW-20", "AIS-60"]


def test_weights_are_unbiased_however_short_the_annealing_is() -> None:
    r"""A bimodal target of mass \(e^2\) and second moment 2.5: means of weights and weighted squares, within 4.5 standard errors."""
    start = Start(torch.zeros(1, 1), torch.full((1, 1), 1.5))

    def target(z: torch.Tensor) -> torch.Tensor:
        sides = torch.stack([-0.5 * ((z[..., 0] - m) / 0.5).square() for m in (-1.5, 1.5)])
        return torch.logsumexp(sides, 0) - math.log(2 * 0.5 * math.sqrt(2 * math.pi)) + 2.0

    for steps in (1, 3):
        rng = torch.Generator().manual_seed(steps)
        z, log_w = annealed(target, start, torch.full((1, 1), 1.5), steps=steps, chains=40_000, rng=rng)
        w = log_w[0].exp()
        assert abs(float(w.mean()) - math.exp(2)) < 4.5 * float(w.std()) / 200
        squares = w * z[0, :, 0].double().square()
        assert abs(float(squares.mean()) - 2.5 * math.exp(2)) < 4.5 * float(squares.std()) / 200


def test_more_laws_leave_less_to_luck() -> None:
    start, widths = Start(torch.zeros(1, 4), torch.ones(1, 4)), torch.full((1, 4), 0.2)
    far = Start(torch.full((1, 4), 1.5), torch.full((1, 4), 0.2))
    spread = [
        float(annealed(far.log_prob, start, widths, steps=t, chains=100, rng=torch.Generator().manual_seed(0))[1].std())
        for t in (5, 40, 160)
    ]
    assert spread[0] > 1.5 * spread[1] > 2.25 * spread[2]


def test_powers_rise_from_nought_to_one() -> None:
    b = powers(50)
    assert (b[0], b[-1]) == (0, 1)
    assert (b.diff() > 0).all()
    assert b.diff()[0] < b.diff()[25]


def test_the_error_is_the_spread_over_sets_of_draws() -> None:
    """The stated Monte Carlo error of the mean against the spread of 40 repeats; a spread of 40 errs by 11 %."""
    linear = Linear.drawn(20, 5)
    model = linear.vae()
    x = linear.draw(model, 10)
    found = [model.bounds(x, draws=200, random_state=seed) for seed in range(40)]
    for name in ("elbo", "iw"):
        stated = np.mean([getattr(b, name).error for b in found])
        assert stated == pytest.approx(np.std([getattr(b, name).value for b in found], ddof=1), rel=0.5)


def test_unknown_labels_are_summed_out() -> None:
    """The bound without labels is the log-sum over labels of the bounds with them; columns that are missing cost nothing."""
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b"], 300, p=[0.7, 0.3])
    x = rng.normal(size=(300, 2)) + (y == "b")[:, None]
    model: Any = VAE(latent=2, hidden=(16,), steps=60, samples=1000, random_state=0).fit(x, y)
    each = [model.bounds(x[:20], np.full(20, label), draws=1000).iw for label in "ab"]
    whole = model.bounds(x[:20], draws=1000).iw
    assert whole.values == pytest.approx(np.logaddexp(each[0].values, each[1].values), abs=0.05)
    assert whole.values == pytest.approx(model.log_prob(x[:20]), abs=0.05)
    mixed = model.bounds(x[:20], np.array(["a", None] * 10, dtype=object), draws=1000).iw.values
    assert mixed[::2] == pytest.approx(each[0].values[::2], abs=0.05)
    assert mixed[1::2] == pytest.approx(whole.values[1::2], abs=0.05)


def test_the_prior_of_a_model_is_what_its_decoder_is_given() -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    model: Any = VAE(latent=2, hidden=(8,), steps=20, prior="mixture", parts=3, random_state=0).fit(x)
    z = model.draw_latents(4000, random_state=0)
    log_w, mean, _ = model.net_["codes"].components()
    centre = (log_w.exp()[:, None] * mean).sum(0).detach().numpy()
    assert z.mean(0) == pytest.approx(centre, abs=4.5 * float(z.std()) / 60)


def test_layers_of_a_hierarchy_cost_what_it_costs_in_all() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3)) + np.random.default_rng(1).integers(2, size=(200, 1)) * 3.0
    model: Any = HVAE(latent=(3, 2), hidden=(16, 8), steps=60, random_state=0).fit(x)
    layers = model.layer_kl(x, draws=64)
    assert layers.shape == (2,)
    found = model.bounds(x, draws=64)
    error = 4 * found.elbo.error
    assert layers.sum() == pytest.approx(found.kl, abs=error + 0.05)
    assert found.iw.value >= found.elbo.value
    flat: Any = VAE(latent=2, hidden=(8,), steps=20, random_state=0).fit(x)
    assert flat.layer_kl(x, draws=64) == pytest.approx([flat.bounds(x, draws=64).kl], abs=0.1)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"ais": -1}, {"chains": 1.5}, {"start": "nowhere"}])
def test_questions_that_make_no_sense_are_one_line(exact: Any, wrong: Any) -> None:
    with pytest.raises(Problem, match=next(iter(wrong))):
        exact[0].bounds(exact[1], **wrong)


def test_a_model_without_latent_variables_says_who_has_them() -> None:
    model: Any = GMM(components=1, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 2)))
    with pytest.raises(MissingCapability, match=r"gmm has no latent variables to sum out. Models that .*\bvae\b"):
        model.bounds(np.zeros((1, 2)))
