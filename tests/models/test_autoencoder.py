"""The autoencoder: its loss and penalties, the laws of its codes, and its bound on a linear-Gaussian model with known answers."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from genlearn.engine import Batch
from genlearn.errors import Interrupted
from genlearn.models import Autoencoder
from genlearn.models._latentlaw import CodesLaw, CodesMixture, MixtureFit
from genlearn.models._mixture import Mixture
from genlearn.models._normals import Dense

WEIGHTS = torch.tensor([[1.0, 0.0], [0.5, 0.5], [-0.3, 1.0]])
NOISE = 0.5
SMALL: dict[str, Any] = {"latent": 2, "hidden": (16,), "steps": 40, "components": 2, "random_state": 0}


def posterior() -> tuple[torch.Tensor, torch.Tensor]:
    """Return gain and covariance of p(z | x) where z is standard normal."""
    covariance = torch.linalg.inv(torch.eye(2) + WEIGHTS.T @ WEIGHTS / NOISE**2)
    return covariance @ WEIGHTS.T / NOISE**2, covariance


class Encoder(nn.Module):
    """The exact posterior mean."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ posterior()[0].T


class Decoder(nn.Module):
    """The linear map with its noise."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.cat([z @ WEIGHTS.T, torch.full((len(z), 3), math.log(NOISE))], 1)


@pytest.fixture(scope="module")
def linear() -> Any:
    """An autoencoder whose parts are those of a linear-Gaussian model in code units."""
    x = np.random.default_rng(0).normal(size=(50, 3))
    model: Any = Autoencoder(**{**SMALL, "steps": 1, "components": 1}).fit(x)
    model.net_ = nn.ModuleDict({"encoder": Encoder(), "decoder": Decoder(), "law": CodesLaw(2, 0, 0)})
    model.means_, model.covariances_ = torch.zeros(1, 2).double(), torch.eye(2)[None].double()
    model.spread_ = posterior()[1].diagonal().sqrt()
    return model


def code_log_density(model: Any, x: np.ndarray) -> np.ndarray:
    """Return the exact log density of the model's codes, in data units."""
    code = model.codec_.encode(model._records_of(x, None))
    marginal = multivariate_normal(np.zeros(3), (WEIGHTS @ WEIGHTS.T + NOISE**2 * torch.eye(3)).numpy())
    return marginal.logpdf(code.x.numpy()) + code.log_det.numpy()


def test_the_bound_reaches_the_exact_value_on_a_linear_gaussian_model(linear: Any) -> None:
    """At 2,000 samples the error is below 0.05 nat, and so is that of the annealed bound with a width that is wrong."""
    x = np.random.default_rng(1).normal(size=(20, 3))
    exact = code_log_density(linear, x)
    linear.set_params(samples=2000)
    assert linear.log_prob(x) == pytest.approx(exact, abs=0.05)
    found = linear.bounds(x, draws=500, random_state=0)
    assert found.iw.values == pytest.approx(exact, abs=0.1)  # 5 times the Monte Carlo error
    assert found.elbo.value < found.iw.value


def test_the_width_of_the_proposal_is_near_the_posteriors(linear: Any) -> None:
    """Of widths a root of 2 apart, one next to the deviations of the exact posterior, which are 0.36 and 0.40."""
    code = linear.codec_.encode(linear._records_of(np.random.default_rng(2).normal(size=(200, 3)), None))
    widths = linear._proposal(code)
    sd = posterior()[1].diagonal().sqrt()
    assert float(widths[0]) == float(widths[1])
    assert sd.min() / 1.5 < widths[0] < sd.max() * 1.5


def test_imputation_finds_the_conditional_mean(linear: Any) -> None:
    """Pseudo-Gibbs on the linear-Gaussian model: draws average to the exact conditional mean (700 draws, 5 standard errors)."""
    x = np.random.default_rng(5).normal(size=(1, 3))
    holes = np.repeat(x, 700, 0)
    holes[:, 2] = np.nan
    drawn = linear.impute(holes, random_state=0)[:, 2]
    code = linear.codec_.encode(linear._records_of(x, None)).x.numpy()[0]
    covariance = (WEIGHTS @ WEIGHTS.T + NOISE**2 * torch.eye(3)).numpy()
    gain = covariance[2, :2] @ np.linalg.inv(covariance[:2, :2])
    spread = np.sqrt(covariance[2, 2] - gain @ covariance[:2, 2])
    filled = linear.codec_.encode(linear._records_of(np.column_stack([holes[:, :2], drawn]), None)).x.numpy()[:, 2]
    # Independent deviations are not the exact posterior: the chain's own bias is below 0.1 spreads here.
    assert filled.mean() == pytest.approx(gain @ code[:2], abs=5 * spread / np.sqrt(700) + 0.1 * spread)
    assert filled.std() == pytest.approx(spread, rel=0.2)


# -- the loss ----------------------------------------------------------------------------------------------------------
def test_the_loss_is_minus_the_reconstruction_plus_the_codes_square(linear: Any) -> None:
    x = torch.randn(32, 3, dtype=torch.float64)
    linear.set_params(smooth="none", beta=0.7, noise=0.2)
    loss, terms = linear._loss(linear.net_, Batch(x, None, torch.Generator().manual_seed(3), 1.0, 0))
    z = x.float() @ posterior()[0].T
    noisy = z + 0.2 * torch.randn(32, 2, generator=torch.Generator().manual_seed(3))
    nats = torch.distributions.Normal(noisy @ WEIGHTS.T, NOISE).log_prob(x.float()).sum(1).mean()
    size = 0.5 * z.square().sum(1).mean()
    torch.testing.assert_close(loss, 0.7 * size - nats)
    torch.testing.assert_close(terms["nats"], -loss)


def test_the_gradient_penalty_is_half_the_squared_norm_of_the_jacobian(linear: Any) -> None:
    """Of a linear decoder: half the sum of its squared weights, whatever the codes; 4,000 projections, 4.5 standard errors."""
    z = torch.randn(4000, 2, requires_grad=True)
    batch = Batch(torch.zeros(4000, 3), None, torch.Generator().manual_seed(0), 1.0, 0)
    found = float(linear._squared_slope(z, Decoder()(z), batch).detach())
    exact = 0.5 * float(WEIGHTS.square().sum())
    # |v' W|^2 is a weighted sum of squares of normals, with variance 2 |W' W|_F^2.
    error = 0.5 * math.sqrt(2 * float((WEIGHTS.T @ WEIGHTS).square().sum()) / 4000)
    assert found == pytest.approx(exact, abs=4.5 * error)


def test_spectral_layers_stretch_no_code() -> None:
    """All layers but the last have spectral norm 1 at most, up to what the power iteration has not found yet."""
    x = np.random.default_rng(0).normal(size=(200, 3))
    model: Any = Autoencoder(**SMALL, smooth="spectral", lr=0.02).fit(x)
    hidden, last = (m.weight.detach() for m in model.net_["decoder"] if isinstance(m, nn.Linear))
    assert float(torch.linalg.matrix_norm(hidden, 2)) < 1.02
    assert float(torch.linalg.matrix_norm(last, 2)) > 1.02


# -- the laws of codes -------------------------------------------------------------------------------------------------
def mixture() -> CodesMixture:
    """Three components, the last of which belongs to both labels."""
    mean = torch.tensor([[-3.0, 0.0], [3.0, 1.0], [0.0, 0.0]]).double()
    cov = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]]).double()
    tables = torch.tensor([[0.98, 0.02], [0.05, 0.95], [0.5, 0.5]]).double()
    return CodesMixture(Mixture(torch.tensor([0.5, 0.3, 0.2]).double(), Dense(mean, cov), tables))


def bent(labels: int) -> CodesLaw:
    """A flow with random weights, so that nothing in it is the identity."""
    law, rng = CodesLaw(2, 2, labels), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in law.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=rng) / max(1, p.shape[-1]) ** 0.5)
        law.centre.copy_(torch.tensor([1.0, -0.5]))
        law.scale.copy_(torch.tensor([0.8, 1.5]))
    return law


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("law", [mixture(), bent(2)], ids=["mixture", "flow"])
def test_laws_given_a_label_have_mass_one_and_draw_from_their_density(law: Any, label: int) -> None:
    """By quadrature; means of two functions over draws lie within 4.5 standard errors."""
    axis = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = law.log_prob(grid, torch.full((len(grid),), label)).exp()
        assert float(density.sum() * 0.1**2) == pytest.approx(1, abs=2e-3)
        z = law.draw(20_000, torch.full((20_000,), label), torch.Generator().manual_seed(0))
    for f in (torch.tanh, torch.cos):
        expected = (density[:, None] * f(grid)).sum(0) * 0.1**2
        assert ((f(z).mean(0) - expected).abs() < 4.5 * f(z).std(0) / len(z) ** 0.5 + 2e-3).all()


def test_labels_share_out_the_mixture() -> None:
    r"""\(\sum_y p(y)\, p(z \mid y) = p(z)\), with \(p(y) = \sum_k \pi_k T_k(y)\)."""
    law, z = mixture(), torch.randn(50, 2, generator=torch.Generator().manual_seed(1)).double()
    prior = law.mixture.weights @ law.mixture.tables
    each = [law.log_prob(z, torch.full((50,), y)) + prior[y].log() for y in (0, 1)]
    torch.testing.assert_close(torch.logsumexp(torch.stack(each), 0), law.log_prob(z, None))


def test_em_finds_the_mixture_of_each_label() -> None:
    """From 3,000 draws, a tenth of them without a label: the gap in nats per code is below what its 18 numbers cost, 18 / 2n."""
    rng = np.random.default_rng(0)
    y = torch.from_numpy((rng.random(3000) < 0.4).astype(np.int64))
    truth = mixture()
    z = truth.draw(3000, y, torch.Generator().manual_seed(2))
    told = torch.where(torch.from_numpy(rng.random(3000) < 0.1), -1, y)
    found = MixtureFit(z.double(), told, 2, lambda k, step, nats: None).run(
        "auto", None, lambda purpose: torch.Generator().manual_seed(len(purpose))
    )
    assert 2 <= len(found.mixture) <= 8
    fresh = truth.draw(4000, y_fresh := torch.arange(4000) % 2, torch.Generator().manual_seed(3))
    gap = truth.log_prob(fresh, y_fresh) - found.log_prob(fresh, y_fresh)
    assert -4 * float(gap.std()) / 4000**0.5 < float(gap.mean()) < 0.05


def test_running_moments_come_near_those_of_the_codes() -> None:
    law, rng = CodesLaw(2, 0, 0), torch.Generator().manual_seed(0)
    for _ in range(500):
        z = torch.tensor([2.0, -1.0]) + torch.tensor([0.1, 3.0]) * torch.randn(200, 2, generator=rng)
        law.follow(z.mean(0), z.square().mean(0))
    torch.testing.assert_close(law.centre, torch.tensor([2.0, -1.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(law.scale, torch.tensor([0.1, 3.0]), rtol=0.1, atol=0)


# -- fits --------------------------------------------------------------------------------------------------------------
def test_labels_choose_where_codes_are_drawn() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 300)
    x = rng.normal(size=(600, 2)) + 6 * y[:, None]
    for density in ("gmm", "flow"):
        model: Any = Autoencoder(**{**SMALL, "steps": 600}, lr=5e-3, density=density, share=0.5).fit(x, y)
        drawn = [model.sample(300, given={"y": label}, random_state=0).mean() for label in (0, 1)]
        assert drawn == pytest.approx([0, 6], abs=0.7)


def test_samples_come_from_drawn_codes() -> None:
    """Means of p(x | z) are the records of `decode` at codes drawn with the same seed; draws are others."""
    images = np.random.default_rng(0).integers(0, 200, (60, 4, 4), dtype=np.uint8)
    model: Any = Autoencoder(**SMALL, output="mean").fit(images)
    codes = model.draw_latents(5, random_state=3)
    np.testing.assert_array_equal(model.decode(codes), model.sample(5, random_state=3))
    model.set_params(output="sample")
    assert not np.array_equal(model.decode(codes), model.sample(5, random_state=3))


def test_a_run_that_is_stopped_and_resumed_repeats_the_mixture(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))

    def stop(event: Any) -> None:
        if event.step == 20 and event.stage == "train" and not event.done:
            os.kill(os.getpid(), signal.SIGINT)

    whole = Autoencoder(**SMALL).fit(x)
    model = Autoencoder(**SMALL)
    with pytest.raises(Interrupted):
        model.fit(x, out=tmp_path, watch=[stop])
    assert np.isfinite(model.sample(5, random_state=0)).all()  # usable where it stopped
    assert model.means_.shape == (2, 2)
    model.fit(x, out=tmp_path, resume=True)
    assert torch.equal(model.covariances_, whole.covariances_)
    np.testing.assert_array_equal(model.sample(5, random_state=0), whole.sample(5, random_state=0))
