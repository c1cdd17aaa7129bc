"""Theorems of the GAN: the games' signs and optima, penalties per record and over all dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genlearn.engine import Batch
from genlearn.errors import Problem
from genlearn.models import GAN, VAEGAN
from genlearn.models.gan import LOSSES, clip_weights, gradient_penalty, kid_score, squared_gradient

SCORES = torch.linspace(-3, 3, 13)


class Quadratic(nn.Module):
    """A critic with a known gradient: D(x) = |x|^2 / 2 + 3 x_0."""

    def forward(self, x: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        return 0.5 * x.square().sum(1) + 3 * x[:, 0]


def gradient(x: torch.Tensor) -> torch.Tensor:
    g = x.clone()
    g[:, 0] += 3
    return g


@pytest.mark.parametrize("name", LOSSES)
def test_the_critic_gains_by_scoring_real_records_higher(name: str) -> None:
    critic, _ = LOSSES[name]
    near = 0.3 * torch.ones(5)
    assert critic(near, -near) < critic(-near, near)


@pytest.mark.parametrize("name", LOSSES)
def test_the_generator_gains_by_fooling_the_critic(name: str) -> None:
    """Its loss falls with the score of its draws (least squares: up to the label 1)."""
    scores = SCORES[SCORES < 1].clone().requires_grad_()
    LOSSES[name][1](scores).backward()
    assert scores.grad is not None
    assert (scores.grad < 0).all()


def test_minimax_is_one_game_with_two_signs() -> None:
    """critic loss = -(E log D(x) + E log(1 - D(G))); the generator minimises the second term itself."""
    real, fake = torch.randn(50), torch.randn(50)
    critic, generator = LOSSES["minimax"]
    log_d, log_not_d = torch.log(torch.sigmoid(real)), torch.log(1 - torch.sigmoid(fake))
    torch.testing.assert_close(critic(real, fake), -(log_d.mean() + log_not_d.mean()))
    torch.testing.assert_close(generator(fake), log_not_d.mean())
    torch.testing.assert_close(LOSSES["non-saturating"][1](fake), -torch.log(torch.sigmoid(fake)).mean())


def test_at_equal_densities_the_best_critic_gives_log_four() -> None:
    """The value of the game at the optimum is -log 4."""
    even = torch.zeros(10)
    assert float(LOSSES["minimax"][0](even, even)) == pytest.approx(math.log(4))


def test_only_the_non_saturating_loss_keeps_its_gradient_where_the_critic_is_sure() -> None:
    steep = {}
    for name in ("minimax", "non-saturating"):
        score = torch.tensor([-8.0], requires_grad=True)
        LOSSES[name][1](score).backward()
        steep[name] = abs(float(score.grad[0]))  # type: ignore[index]
    assert steep["minimax"] < 1e-3
    assert steep["non-saturating"] > 0.99


def test_hinge_and_least_squares_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.5])
    assert float(LOSSES["hinge"][0](real, fake)) == pytest.approx((0 + 0.5) / 2 + (0 + 1.5) / 2)
    assert float(LOSSES["least-squares"][0](real, fake)) == pytest.approx((1 + 0.25) / 4 + (4 + 0.25) / 4)


def test_r1_is_the_squared_norm_over_all_dimensions() -> None:
    x = torch.randn(6, 4)
    torch.testing.assert_close(squared_gradient(Quadratic(), x, None), gradient(x).square().sum(1))


def test_the_gradient_penalty_has_one_alpha_per_record_and_the_norm_of_all_dimensions() -> None:
    real, fake, alpha = torch.randn(6, 4), torch.randn(6, 4), torch.rand(6, 1)
    norms = gradient(alpha * real + (1 - alpha) * fake).norm(dim=1)
    found = gradient_penalty(Quadratic(), real, fake, None, alpha)
    torch.testing.assert_close(found, (norms - 1).square().mean())


def test_penalties_reach_the_critic_with_gradients() -> None:
    net = nn.Linear(3, 1)

    def critic(x: torch.Tensor, y: Any) -> torch.Tensor:
        return net(x)[:, 0]

    squared_gradient(critic, torch.randn(5, 3), None).mean().backward()  # type: ignore[arg-type]
    torch.testing.assert_close(net.weight.grad, 2 * net.weight.detach())


def test_clipping_bounds_every_weight() -> None:
    net = nn.Linear(8, 8)
    clip_weights(net)
    assert max(float(p.detach().abs().max()) for p in net.parameters()) <= 0.01


@pytest.mark.parametrize(
    "settings",
    [{"loss": name} for name in LOSSES]
    + [
        {"loss": "wasserstein", "regularizer": "clipping", "ema": 0.0},
        {"loss": "hinge", "spectral_norm": True},
        {"net": "conv"},
    ],
    ids=str,
)
def test_every_game_trains_on_images_with_labels(settings: dict[str, Any]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (64, 12, 12), dtype=np.uint8)
    model = GAN(steps=3, batch=16, hidden=(16,), width=4, latent=4, random_state=0, **settings)
    images = model.fit(x, np.arange(64) % 3).sample(4, given={"label": 2}, random_state=0)
    assert images.shape == (4, 12, 12)
    if settings.get("regularizer") == "clipping":
        assert max(float(p.detach().abs().max()) for p in model.net_["critic"].parameters()) <= 0.01


def test_wasserstein_critics_move_five_times() -> None:
    model = GAN(loss="wasserstein", steps=2, hidden=(8,), random_state=0).fit(
        np.random.default_rng(0).normal(size=(40, 2))
    )
    assert [turn.times(0) for turn in model.turns(model.net_)] == [5, 1]


def test_an_unknown_game_is_refused_with_the_nearest() -> None:
    with pytest.raises(Problem, match='Did you mean "hinge"'):
        GAN(loss="hing").fit(np.zeros((4, 2)))  # type: ignore[arg-type]


def test_kid_tells_distances_and_is_negated_for_validation() -> None:
    x = torch.randn(400, 3)
    near, far = kid_score(x[:200], x[200:]), kid_score(x[:200], x[200:] + 2)
    assert near is not None
    assert far is not None
    assert near[0] == "-kid"
    assert near[1] > far[1]


# -- VAE-GAN ---------------------------------------------------------------------------------------------------------
def test_the_hybrid_plays_three_turns_on_disjoint_weights() -> None:
    model: Any = VAEGAN(steps=2, hidden=(8,), latent=2, random_state=0).fit(
        np.random.default_rng(0).normal(size=(64, 3))
    )
    net = model.build()
    turns = model.turns(net)
    assert [turn.name for turn in turns] == ["critic", "encoder", "generator"]
    owned = [{id(p) for p in turn.parameters()} for turn in turns]
    assert not owned[0] & owned[1]
    assert not owned[1] & owned[2]
    assert sum(map(len, owned)) == len(list(net.parameters()))


def test_feature_distance_does_not_depend_on_the_scale_of_features() -> None:
    model: Any = VAEGAN(steps=2, hidden=(8,), latent=2, random_state=0).fit(
        np.random.default_rng(0).normal(size=(64, 3))
    )
    x, copy = torch.randn(32, 3, dtype=torch.float64), torch.randn(32, 3)

    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.size = 3
            self.factor = factor

        def features(self, e: torch.Tensor) -> torch.Tensor:
            return self.factor * e

    batch = Batch(x, None, torch.Generator(), 1.0, 0)
    one, ten = (model._distance({"critic": Scaled(f)}, batch, copy) for f in (1.0, 10.0))
    torch.testing.assert_close(one, ten, rtol=1e-4, atol=1e-4)
    assert model._distance({"critic": Scaled(1.0)}, batch, x.float()) < one


def test_reconstructions_of_the_hybrid_resemble_their_records() -> None:
    """A correlated Gaussian comes back with a correlation above 0.8 in each column after a short training."""
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 800)
    model: Any = VAEGAN(steps=400, hidden=(64, 64), latent=4, random_state=0).fit(x)
    back = model.reconstruct(x)
    assert min(np.corrcoef(x[:, j], back[:, j])[0, 1] for j in range(2)) > 0.8


def test_the_encoder_loss_counts_the_kl_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = VAEGAN(steps=2, hidden=(8,), latent=2, random_state=0).fit(
        np.random.default_rng(0).normal(size=(64, 3))
    )
    batch = Batch(torch.randn(32, 3, dtype=torch.float64), None, torch.Generator().manual_seed(0), 1.0, 0)
    loss, terms = model._encoder_loss(model.net_, batch)
    torch.testing.assert_close(loss, terms["kl"] + 3 * terms["distance"])
