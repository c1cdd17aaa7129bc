"""Theorems of the hierarchical variational autoencoder: exact values on a linear-Gaussian hierarchy, densities, masses, coordinates."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2, multivariate_normal
from torch import nn

from genlearn.engine import Batch
from genlearn.models.hvae import HVAE, _shares
from genlearn.nn.ladder import Chain, Ladder

# x = W z1 + 0.5 noise, z1 = scale z2 + 0.7 noise, z2 ~ N(0, I): columns of W are orthogonal, so that all posteriors are diagonal.
WEIGHTS = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.4, 0.0]])
SCALE, INNER, NOISE = torch.tensor([0.9, 0.5]), 0.7, 0.5


class Affine(nn.Module):
    """Means that are linear in the input, and constant log standard deviations."""

    def __init__(self, gain: torch.Tensor, sd: torch.Tensor) -> None:
        super().__init__()
        self.gain, self.sd = gain, sd

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x @ self.gain.T
        return torch.cat([mean, self.sd.log().expand_as(mean)], 1)


def prior_variance() -> torch.Tensor:
    return SCALE**2 + INNER**2


def linear_chain(wider: float = 1.0) -> Chain:
    """Return the chain with the exact posteriors, their spreads times `wider`."""
    chain = Chain(3, 6, 0, (2, 2), (4, 4))
    variance = 1 / (1 / prior_variance() + WEIGHTS.square().sum(0) / NOISE**2)
    above = SCALE / prior_variance()
    below = Affine(variance[:, None] * WEIGHTS.T / NOISE**2, wider * variance.sqrt())
    chain.up = nn.ModuleList([below, Affine(above.diag(), wider * (1 - above * SCALE).sqrt())])
    chain.down = nn.ModuleList(
        [Affine(WEIGHTS, torch.full((3,), NOISE)), Affine(SCALE.diag(), torch.full((2,), INNER))]
    )
    return chain


def covariance() -> np.ndarray:
    return (WEIGHTS * prior_variance() @ WEIGHTS.T + NOISE**2 * torch.eye(3)).numpy()


@pytest.fixture(scope="module")
def linear() -> Any:
    """An HVAE whose nets are those of the linear-Gaussian hierarchy, in code units."""
    model = HVAE(latent=(2, 2), hidden=(4, 4), steps=1, random_state=0)
    return model.fit(np.random.default_rng(0).normal(size=(50, 3)))


def exact_scores(model: Any, x: np.ndarray) -> np.ndarray:
    code = model.codec_.encode(model._records_of(x, None))
    return multivariate_normal(np.zeros(3), covariance()).logpdf(code.x.numpy()) + code.log_det.numpy()


def test_with_exact_posteriors_one_draw_gives_the_exact_value(linear: Any) -> None:
    x = np.random.default_rng(1).normal(size=(40, 3))
    linear.net_ = linear_chain()
    assert linear.set_params(samples=1).log_prob(x) == pytest.approx(exact_scores(linear, x), abs=1e-4)


def test_joint_and_proposal_differ_by_the_exact_value(linear: Any) -> None:
    """With exact posteriors every draw of the proposal gives it, so that ELBO and importance-weighted bound are equal."""
    x = np.random.default_rng(1).normal(size=(20, 3))
    linear.net_ = linear_chain()
    found = linear.bounds(x, draws=4)
    assert found.elbo.values == pytest.approx(exact_scores(linear, x), abs=1e-4)
    assert found.iw.values == pytest.approx(exact_scores(linear, x), abs=1e-4)


def test_the_bound_grows_with_the_number_of_samples_and_stays_below(linear: Any) -> None:
    """Posteriors 1.5 times too wide; 3,000 records with noise of their own leave a standard error of 0.02 nat."""
    x = np.random.default_rng(2).normal(size=(3000, 3))
    linear.net_ = linear_chain(1.5)
    one, five, many = (linear.set_params(samples=k).score(x) for k in (1, 5, 100))
    exact = exact_scores(linear, x).mean()
    assert one + 0.2 < five
    assert five + 0.05 < many
    assert many == pytest.approx(exact, abs=0.03)


def test_objectives_agree_with_one_draw_and_part_with_more(linear: Any) -> None:
    linear.net_ = linear_chain(1.5)
    x = torch.randn(512, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(objective: str, draws: int) -> torch.Tensor:
        linear.set_params(objective=objective, draws=draws)
        return linear._loss(linear.net_, Batch(x, None, torch.Generator().manual_seed(1), 1.0, 0))[0]

    torch.testing.assert_close(loss("iwae", 1), loss("elbo", 1))
    assert loss("iwae", 20) + 0.3 < loss("elbo", 20)
    linear.set_params(objective="elbo", draws=1)


def test_terms_of_the_loss_add_up(linear: Any) -> None:
    linear.net_ = linear_chain(1.5)
    x = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def at(progress: float, **settings: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        linear.set_params(**settings)
        return linear._loss(linear.net_, Batch(x, None, torch.Generator().manual_seed(3), progress, 0))

    loss, terms = at(1.0)
    torch.testing.assert_close(terms["kl_1"] + terms["kl_2"], terms["kl"])
    torch.testing.assert_close(loss, -terms["nats"])
    torch.testing.assert_close(loss - at(0.0)[0], terms["kl"])
    torch.testing.assert_close(loss - at(0.05, balance=False)[0], 0.5 * terms["kl"])
    free = at(1.0, free_nats=50.0)[0]
    torch.testing.assert_close(free, loss - terms["kl"] + 100)
    linear.set_params(free_nats=0.0, balance=True)


def test_layers_that_hold_little_pay_little_during_the_warm_up() -> None:
    shares = _shares(torch.tensor([6.0, 1.0, 2.0]))
    torch.testing.assert_close(shares.mean(), torch.tensor(1.0))
    torch.testing.assert_close(shares, 3 * torch.tensor([6.0, 1.0, 2.0]) / 9, atol=1e-2, rtol=0)


def test_imputation_draws_from_the_conditional(linear: Any) -> None:
    """Exact posteriors make the chain of draws exact: mean and spread of 700 draws, 5 standard errors."""
    linear.net_ = linear_chain()
    x = np.random.default_rng(5).normal(size=(1, 3))
    code = linear.codec_.encode(linear._records_of(x, None)).x.numpy()[0]
    holes = np.repeat(x, 700, 0)
    holes[:, 2] = np.nan
    filled = linear.impute(holes, random_state=0)
    drawn = linear.codec_.encode(linear._records_of(filled, None)).x.numpy()[:, 2]
    sigma = covariance()
    gain = sigma[2, :2] @ np.linalg.inv(sigma[:2, :2])
    spread = math.sqrt(sigma[2, 2] - gain @ sigma[:2, 2])
    assert drawn.mean() == pytest.approx(gain @ code[:2], abs=5 * spread / math.sqrt(700))
    assert drawn.std() == pytest.approx(spread, rel=5 / math.sqrt(1400))


# -- both nets ---------------------------------------------------------------------------------------------------------
def stirred(net: Any) -> Any:
    """Return the net with random weights, so that no layer is idle."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / max(1, p[0].numel()) ** 0.5)
    return net.eval()


NETS = {
    "chain": lambda: Chain(4, 4, 2, (2, 3, 2), (5, 5, 5)),
    "ladder": lambda: Ladder((4, 1, 1), 1, 2, width=6, channels=2, rungs=(1, 1, 2), dropout=0.0),
    "image ladder": lambda: Ladder((1, 3, 5), 1, 2, width=4, channels=1, rungs=(1, 2), dropout=0.0),
}


def case(name: str, n: int = 5) -> tuple[Any, torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Return a net, labels, features of random records, and noise."""
    net, rng = stirred(NETS[name]()), torch.Generator().manual_seed(1)
    x = torch.randn(n, 15 if "image" in name else 4, generator=rng)
    label = torch.eye(2)[torch.arange(n) % 2]
    return net, label, net.features(x, label), torch.randn(n, net.latents, generator=rng)


@pytest.mark.parametrize("name", NETS)
def test_the_decoder_gives_the_same_for_coordinates_as_for_the_draw(name: str) -> None:
    net, label, features, eps = case(name)
    found = net.draw(features, label, eps)
    torch.testing.assert_close(net.generate(found.u, label), found.params, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_gaps_are_log_ratios_of_posterior_and_prior(name: str) -> None:
    r"""Noise to coordinates is invertible: \(\log q(u) = \log N(\epsilon) - \log|\det du/d\epsilon|\), and the prior is \(N(0, I)\)."""
    net, label, features, eps = case(name)
    gaps = net.draw(features, label, eps).gaps.sum(1)
    for i in range(len(eps)):
        one = [f[i : i + 1] for f in features]
        jacobian = torch.autograd.functional.jacobian(
            lambda e, i=i, one=one: net.draw(one, label[i : i + 1], e).u, eps[i : i + 1]
        )
        u, log_det = (
            net.draw(one, label[i : i + 1], eps[i : i + 1]).u,
            torch.linalg.slogdet(jacobian[0, :, 0]).logabsdet,
        )
        expected = 0.5 * (u.square() - eps[i].square()).sum() - log_det
        torch.testing.assert_close(gaps[i], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["ladder", "image ladder"])
def test_each_layer_of_a_ladder_has_a_divergence_of_its_own(name: str) -> None:
    """The closed form is not negative, and is the mean of the gap over noise: the difference within 5 standard errors."""
    net, label, features, _ = case(name, 1)
    n = 4000
    eps = torch.randn(n, net.latents, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = net.draw([f.expand(n, -1, -1, -1) for f in features], label.expand(n, -1), eps)
    assert (found.kl >= 0).all()
    apart = found.gaps - found.kl
    assert (apart.mean(0).abs() < 5 * apart.std(0) / n**0.5).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 11), (2, 33, 18), (5, 1, 1), (1, 2, 40)])
def test_ladders_take_images_of_any_size(shape: tuple[int, int, int]) -> None:
    net = Ladder(shape, 2, 0, width=4, channels=1, rungs=(1, 1, 1), dropout=0.0)
    x, label = torch.randn(2, math.prod(shape)), torch.zeros(2, 0)
    found = net.draw(net.features(x, label), label, torch.randn(2, net.latents))
    assert found.params.shape == (2, 2 * shape[1] * shape[2])
    assert found.u.shape == (2, net.latents)


# -- on a small table of zeros and ones --------------------------------------------------------------------------------
CELLS = np.array(list(itertools.product([False, True], repeat=4)))
COLUMNS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module", params=["mlp", "ladder"])
def binary(request: Any) -> Any:
    """A model of four dependent bits, shortly trained."""
    rng = np.random.default_rng(0)
    bit = rng.random(400) < 0.4
    x = np.column_stack([bit ^ (rng.random(400) < p) for p in (0.1, 0.2, 0.3, 0.5)])
    model = HVAE(net=request.param, latent=(3, 2), hidden=(16, 8), width=12, channels=2, rungs=(2,), steps=100, lr=5e-3, ema=0.0,
                 samples=200, random_state=0)  # fmt: skip
    return model.fit(pd.DataFrame(x, columns=COLUMNS))


def test_all_cells_have_mass_one(binary: Any) -> None:
    """The exponential of the bound is an unbiased estimate of the probability."""
    assert np.exp(binary.log_prob(pd.DataFrame(CELLS, columns=COLUMNS))).sum() == pytest.approx(1, abs=0.02)


def test_samples_follow_the_scores(binary: Any) -> None:
    """Pearson's test over 16 cells at the level 1e-4."""
    p = np.exp(binary.log_prob(pd.DataFrame(CELLS, columns=COLUMNS)))
    drawn = binary.sample(4000, random_state=0).to_numpy(dtype=int) @ [8, 4, 2, 1]
    expected = 4000 * p / p.sum()
    assert ((np.bincount(drawn, minlength=16) - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-4, 15)


def test_encode_decode_keep_to_the_means(binary: Any) -> None:
    """Reconstruction goes through the same coordinates as `encode`, whose number is that of all layers."""
    frame = pd.DataFrame(CELLS, columns=COLUMNS)
    u = binary.encode(frame)
    assert u.shape == (16, binary.latents_)
    pd.testing.assert_frame_equal(binary.decode(u), binary.reconstruct(frame))
