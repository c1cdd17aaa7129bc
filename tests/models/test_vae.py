"""Theorems of the variational autoencoder: its KL, its bounds, exact values on a linear-Gaussian model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.distributions import Normal, kl_divergence

from genlearn.engine import Batch
from genlearn.models._bounds import discrepancy, gaussian_kl, total_correlation
from genlearn.models.vae import VAE
from genlearn.nn import Flow, FlowPrior, MixturePrior, NormalPrior, VampPrior

WEIGHTS = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, 0.4]])  # decoder of the linear-Gaussian model
NOISE = 0.6


class Decoder(nn.Module):
    """x = W z + noise: means and log standard deviations."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        mean = z @ WEIGHTS.T
        return torch.cat([mean, torch.full_like(mean, math.log(NOISE))], 1)


class Encoder(nn.Module):
    """The exact posterior mean, with a chosen diagonal standard deviation."""

    def __init__(self, sd: torch.Tensor) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x @ posterior()[0].T, self.sd.log().expand(len(x), 2)], 1)


def posterior() -> tuple[torch.Tensor, torch.Tensor]:
    """Return gain and covariance of p(z | x)."""
    covariance = torch.linalg.inv(torch.eye(2) + WEIGHTS.T @ WEIGHTS / NOISE**2)
    return covariance @ WEIGHTS.T / NOISE**2, covariance


@pytest.fixture(scope="module")
def linear() -> Any:
    """A VAE whose nets are those of a linear-Gaussian model in code units."""
    model = VAE(latent=2, hidden=(4,), steps=1, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 3)))
    sd = posterior()[1].diagonal().sqrt()
    model.net_ = nn.ModuleDict({"encoder": Encoder(sd), "decoder": Decoder(), "codes": NormalPrior(2)})
    return model


def code_log_density(model: Any, x: np.ndarray) -> np.ndarray:
    """Return the exact log density of the model's codes, in data units."""
    code = model.codec_.encode(model._records_of(x, None))
    marginal = multivariate_normal(np.zeros(3), (WEIGHTS @ WEIGHTS.T + NOISE**2 * torch.eye(3)).numpy())
    return marginal.logpdf(code.x.numpy()) + code.log_det.numpy()


def test_kl_is_in_nats_and_of_the_right_sign() -> None:
    mean, log_sd = torch.randn(7, 3), 0.3 * torch.randn(7, 3)
    expected = kl_divergence(Normal(mean, log_sd.exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mean, log_sd), expected)
    assert (gaussian_kl(mean, log_sd) >= 0).all()


def test_the_bound_reaches_the_exact_value_on_a_linear_gaussian_model(linear: Any) -> None:
    """At 2,000 samples the error is below 0.05 nat: the proposal has the posterior's own mean and spreads."""
    x = np.random.default_rng(1).normal(size=(40, 3))
    exact = code_log_density(linear, x)
    linear.set_params(samples=2000)
    assert linear.log_prob(x) == pytest.approx(exact, abs=0.05)


def test_the_importance_weighted_bound_grows_with_the_number_of_samples(linear: Any) -> None:
    """On average over records and 60 sets of noise, which all records of one score share (standard error 0.03 nat).

    The proposal is twice as wide as the posterior, so that the bounds lie apart.
    """
    encoder = linear.net_["encoder"]
    linear.net_["encoder"] = Encoder(2 * encoder.sd)
    x = np.random.default_rng(2).normal(size=(400, 3))
    scores = []
    for k in (1, 4, 32):
        linear.set_params(samples=k)
        each = []
        for seed in range(60):
            linear.seed_ = seed
            each.append(linear.score(x))
        scores.append(np.mean(each))
    exact = code_log_density(linear, x).mean()
    linear.net_["encoder"], linear.seed_ = encoder, 0
    assert scores[0] + 0.1 < scores[1], scores
    assert scores[1] + 0.03 < scores[2], scores
    assert scores[2] < exact + 0.03


def test_the_loss_is_minus_the_elbo_with_the_kl_summed_over_dimensions(linear: Any) -> None:
    """One sample of the reconstruction by hand, the KL in closed form."""
    x = torch.randn(32, 3, dtype=torch.float64)
    batch = Batch(x, None, torch.Generator().manual_seed(3), 1.0, 0)
    loss, terms = linear._loss(linear.net_, batch)
    mean, sd = x.float() @ posterior()[0].T, posterior()[1].diagonal().sqrt()
    z = mean + sd * torch.randn(32, 2, generator=torch.Generator().manual_seed(3))
    nats = Normal(z @ WEIGHTS.T, NOISE).log_prob(x.float()).sum(1).mean()
    kl = kl_divergence(Normal(mean, sd.expand_as(mean)), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(loss, kl - nats)
    torch.testing.assert_close(terms["nats"], nats - kl)
    torch.testing.assert_close(terms["kl"], kl)


def test_warm_up_raises_the_weight_of_the_kl(linear: Any) -> None:
    x = torch.randn(16, 3, dtype=torch.float64)

    def loss(progress: float) -> torch.Tensor:
        return linear._loss(linear.net_, Batch(x, None, torch.Generator().manual_seed(0), progress, 0))[0]

    kl = linear._loss(linear.net_, Batch(x, None, torch.Generator().manual_seed(0), 1.0, 0))[1]["kl"]
    torch.testing.assert_close(loss(1.0) - loss(0.0), kl)
    torch.testing.assert_close(loss(0.05) - loss(0.0), 0.5 * kl)


def test_free_nats_cost_nothing(linear: Any) -> None:
    """With more free nats per dimension than are used, the KL term is the constant that it cannot fall below."""
    x = torch.randn(16, 3, dtype=torch.float64)
    free = linear.set_params(free_nats=50.0)._loss(
        linear.net_, Batch(x, None, torch.Generator().manual_seed(0), 1.0, 0)
    )
    linear.set_params(free_nats=0.0)
    torch.testing.assert_close(free[0], 100.0 - (free[1]["nats"] + free[1]["kl"]))


def test_posterior_and_encode_agree(linear: Any) -> None:
    x = np.random.default_rng(4).normal(size=(9, 3))
    mean, sd = linear.posterior(x)
    np.testing.assert_array_equal(mean, linear.encode(x))
    assert sd == pytest.approx(np.tile(posterior()[1].diagonal().sqrt().numpy(), (9, 1)), rel=1e-6)


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
    # The encoder's diagonal posterior is not exact: the chain's own bias is below 0.1 spreads here.
    assert filled.mean() == pytest.approx(gain @ code[:2], abs=5 * spread / np.sqrt(700) + 0.1 * spread)
    assert filled.std() == pytest.approx(spread, rel=0.2)


def test_labels_shift_the_score_by_their_log_frequency() -> None:
    """log p(x) is the log-sum over labels of log p(x, y)."""
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b", "c"], 300, p=[0.6, 0.3, 0.1])
    x = rng.normal(size=(300, 2)) + (y == "b")[:, None]
    model: Any = VAE(latent=2, hidden=(16,), steps=60, samples=10, random_state=0).fit(x, y)
    each = np.stack([model.log_prob(x[:20], np.full(20, label)) for label in "abc"])
    assert model.log_prob(x[:20]) == pytest.approx(np.logaddexp.reduce(each, 0), abs=1e-4)


def test_each_label_has_its_own_prior_and_latent_coordinates_are_standard_in_it() -> None:
    """Two far-apart classes: the learned priors move, and posterior means have about mean 0 within each label."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 300)
    x = rng.normal(size=(600, 2)) + 6 * y[:, None]
    model: Any = VAE(latent=2, hidden=(32,), steps=300, lr=5e-3, random_state=0).fit(x, y)
    assert float(model.net_["prior"].weight.detach().abs().max()) > 0.05
    means = np.stack([model.encode(x[y == label], y[y == label]).mean(0) for label in (0, 1)])
    assert np.abs(means).max() < 0.35
    drawn = [model.sample(400, given={"y": label}, random_state=0).mean() for label in (0, 1)]
    assert drawn[0] == pytest.approx(0, abs=0.5)
    assert drawn[1] == pytest.approx(6, abs=0.5)


# -- objectives --------------------------------------------------------------------------------------------------------
class Tilted(nn.Module):
    """A posterior that is off the exact one, with parameters to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(0.7 * posterior()[0] + 0.1)
        self.log_sd = nn.Parameter(torch.full((2,), -0.6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x @ self.gain.T, self.log_sd.expand(len(x), 2)], 1)


def gradients(objective: str, draws: int, seeds: int, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard error of the encoder's gradient over sets of noise, `(8,)` each; loss as training sees it."""
    model = VAE(latent=2, hidden=(4,), steps=1, warmup=0.0, random_state=0)
    model.fit(np.random.default_rng(0).normal(size=(50, 3)))
    model.set_params(objective=objective, draws=draws, **settings)
    net = nn.ModuleDict({"encoder": Tilted(), "decoder": Decoder(), "codes": NormalPrior(2)})
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(64, 3))).float()
    found = []
    for seed in range(seeds):
        net.zero_grad()
        loss, _ = model._loss(net, Batch(x, None, torch.Generator().manual_seed(seed), 0.5, 0))
        loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in net["encoder"].parameters()]))
    stacked = torch.stack(found)
    return stacked.mean(0), stacked.std(0) / seeds**0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [(("elbo", 1), ("iwae", 1)), (("elbo", 1), ("elbo", 4)), (("iwae", 5), ("dreg", 5)), (("elbo", 1), ("beta-tc", 1)),
     (("elbo", 1), ("dreg", 1))],
)  # fmt: skip
def test_objectives_with_the_same_gradient_on_average(one, other) -> None:
    """Each of 8 numbers within 4.5 standard errors: one false alarm in 20,000 seeds."""
    (a, a_error), (b, b_error) = gradients(*one, seeds=400), gradients(*other, seeds=400)
    assert ((a - b).abs() / (a_error.square() + b_error.square()).sqrt() < 4.5).all()


def test_the_doubly_reparametrised_gradient_is_less_noisy() -> None:
    assert (gradients("dreg", 20, seeds=60)[1] < 0.7 * gradients("iwae", 20, seeds=60)[1]).all()


def test_more_draws_are_another_objective() -> None:
    (a, a_error), (b, b_error) = gradients("elbo", 1, seeds=200), gradients("iwae", 20, seeds=200)
    assert ((a - b).abs() / (a_error.square() + b_error.square()).sqrt()).max() > 10


# -- priors and flows --------------------------------------------------------------------------------------------------
def stirred(module: Any, seed: int = 0) -> Any:
    """Return the module with random weights, so that nothing in it is the identity."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=rng) / max(1, p.shape[-1]) ** 0.5)
    return module


def test_a_flow_is_triangular_and_inverts() -> None:
    flow = stirred(Flow(3, 2, context=2)).double()
    rng = torch.Generator().manual_seed(1)
    x, h = (torch.randn(6, size, generator=rng, dtype=torch.float64) for size in (3, 2))
    y, log_det = flow(x, h)
    torch.testing.assert_close(flow.inverse(y, h), x)
    each = [torch.autograd.functional.jacobian(lambda v, i=i: flow(v, h[i])[0], x[i]) for i in range(6)]
    torch.testing.assert_close(log_det, torch.stack([torch.linalg.slogdet(j).logabsdet for j in each]))
    single = torch.autograd.functional.jacobian(lambda v: flow.layers[0](v, h[0])[0], x[0])
    assert torch.equal(single, single.tril())
    assert (single.tril(-1) != 0).any()


PRIORS = {
    "mixture": lambda: stirred(MixturePrior(2, 3)),
    "vamp": lambda: stirred(VampPrior(2, 3, 5, stirred(nn.Linear(5, 4)))),
    "flow": lambda: stirred(FlowPrior(2, 2)),
    "normal": lambda: NormalPrior(2),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors_have_mass_one_and_draw_from_their_density(name: str) -> None:
    """By quadrature; means of two functions over draws lie within 4.5 standard errors."""
    prior = PRIORS[name]()
    axis = torch.linspace(-14, 14, 281)
    grid = torch.cartesian_prod(axis, axis)
    density = prior.log_prob(grid).detach().exp()
    assert float(density.sum() * 0.1**2) == pytest.approx(1, abs=2e-3)
    z = prior.draw(20_000, torch.Generator().manual_seed(0)).detach()
    for f in (torch.tanh, torch.cos):
        expected = (density[:, None] * f(grid)).sum(0) * 0.1**2
        error = f(z).std(0) / len(z) ** 0.5
        assert ((f(z).mean(0) - expected).abs() < 4.5 * error + 2e-3).all()


@pytest.mark.parametrize(("prior", "inference"), [("mixture", "diagonal"), ("vamp", "diagonal"), ("flow", "flow")])
def test_the_bound_stays_below_and_near_the_exact_value(prior: str, inference: str) -> None:
    """Three clusters: by quadrature over a two-dimensional latent space, 300 samples leave less than 0.05 nat."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) + 4 * rng.integers(3, size=(300, 1))
    model: Any = VAE(latent=2, hidden=(16,), steps=150, lr=5e-3, samples=300, prior=prior, inference=inference, parts=5,
                     random_state=0).fit(x)  # fmt: skip
    axis = torch.linspace(-8, 8, 401)
    grid = torch.cartesian_prod(axis, axis)
    code = model.codec_.encode(model._records_of(x[:15], None))
    with torch.no_grad():
        log_prior = model.net_["codes"].log_prob(grid) + 2 * math.log(0.04)
        each = [
            torch.logsumexp(log_prior + model._head(model.net_, grid, None).log_prob(row.expand(len(grid), -1)), 0)
            for row in code.x
        ]
    exact = torch.stack(each).double().numpy() + code.log_det.numpy()
    found = model.log_prob(x[:15])
    assert found.mean() == pytest.approx(exact.mean(), abs=0.05)


def test_total_correlation_is_that_of_a_normal_law() -> None:
    r"""Codes of correlation 0.8 and no noise of their own but a little: \(-\frac12 \log(1 - 0.8^2) = 0.511\) nats."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(1500, 2, generator=rng, dtype=torch.float64)
    codes = torch.stack([noise[:, 0], 0.8 * noise[:, 0] + 0.6 * noise[:, 1]], 1)
    log_sd = torch.full_like(codes, math.log(0.15))
    z = codes + 0.15 * torch.randn(1500, 2, generator=rng, dtype=torch.float64)
    spread = (1 + 0.15**2) ** 2
    exact = -0.5 * math.log(1 - 0.64 / spread)
    assert float(total_correlation(z, codes, log_sd)) == pytest.approx(exact, abs=0.06)
    assert abs(float(total_correlation(noise, noise, log_sd))) < 0.25 * exact


def test_discrepancy_of_normal_samples_is_unbiased() -> None:
    r"""Between N(0, I) and N(m, I) in d dimensions: \(2 (1 + 4/d)^{-d/2} (1 - \exp(-|m|^2 / (d + 4)))\)."""
    rng, d = torch.Generator().manual_seed(0), 3
    shift = torch.tensor([1.0, 0.0, 0.5])
    exact = 2 * (1 + 4 / d) ** (-d / 2) * (1 - math.exp(-float(shift.square().sum()) / (d + 4)))
    for move, value in ((0 * shift, 0.0), (shift, exact)):
        found = torch.stack(
            [
                discrepancy(torch.randn(40, d, generator=rng), torch.randn(40, d, generator=rng) + move)
                for _ in range(300)
            ]
        )
        assert abs(float(found.mean()) - value) < 4 * float(found.std()) / 300**0.5


def test_weights_of_the_kl_term_over_a_training() -> None:
    def weights(*places: float, **settings: Any) -> list[float]:
        model = VAE(**settings)
        return [model._annealed(Batch(torch.zeros(1, 1), None, torch.Generator(), p, 0)) for p in places]

    rising = weights(0.0, 0.125, 0.4, 0.5, 0.9, warmup=0.5, cycles=2)
    assert rising == pytest.approx([0.0, 0.5, 1.0, 0.0, 1.0])
    assert weights(0.0, 0.25, 0.5, 1.0, warmup=0.5, start=0.5) == pytest.approx([0.5, 0.75, 1.0, 1.0])
    assert weights(0.0, 0.25, 0.5, 1.0, warmup=0.5, start=16.0) == pytest.approx([16.0, 4.0, 1.0, 1.0])
    assert weights(0.0, 0.5, warmup=0.0, start=16.0) == [1.0, 1.0]
    kl = torch.tensor([0.5, 2.0])
    assert float(VAE(capacity=4.0)._price(kl, 0.5)) == 0.5
    assert float(VAE(free_nats=1.0)._price(kl, 0.5)) == 3.0
