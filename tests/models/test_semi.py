"""Theorems of labels that only some records have: a bound by enumeration, its optimum, and labels by Bayes' rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn

import genlearn
from genlearn.cli import main
from genlearn.data.records import Records
from genlearn.engine import Batch
from genlearn.errors import Problem
from genlearn.layout import Code
from genlearn.models import GMM, VAE, Forest
from genlearn.models._semi import Known, Neighbours, deal, unevenness
from genlearn.nn import NormalPrior

WEIGHTS, NOISE = torch.tensor([0.8, -0.5]), 0.6  # x = w z + m_y + noise
CENTRES = torch.tensor([[0.0, 0.0], [1.5, 0.5], [-1.0, 1.0]])
FREQUENCIES = torch.tensor([0.5, 0.3, 0.2])


# -- a model whose every law is known ----------------------------------------------------------------------------------
class Encoder(nn.Module):
    """The exact posterior of z given record and label."""

    def forward(self, e: torch.Tensor) -> torch.Tensor:
        x, label = e[:, :2], e[:, 2:]
        total = WEIGHTS @ WEIGHTS + NOISE**2
        mean = (x - label @ CENTRES) @ WEIGHTS / total
        return torch.stack([mean, torch.full_like(mean, float(0.5 * torch.log(NOISE**2 / total)))], 1)


class Decoder(nn.Module):
    """Means and log standard deviations of x given z and label."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(CENTRES.clone())

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        mean = u[:, :1] * WEIGHTS + u[:, 1:] @ self.centres
        return torch.cat([mean, torch.full_like(mean, math.log(NOISE))], 1)


def log_joint(x: torch.Tensor) -> np.ndarray:
    """Return exact log p(x, y), `(n, 3)`."""
    covariance = (WEIGHTS[:, None] * WEIGHTS + NOISE**2 * torch.eye(2)).numpy()
    each = [multivariate_normal(m.numpy(), covariance).logpdf(x.numpy()) for m in CENTRES]
    return np.stack(each, 1) + FREQUENCIES.log().numpy()


class Exact(nn.Module):
    """The exact log p(y | x), up to a constant, moved away from it by parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.off = nn.Parameter(torch.zeros(3))

    def forward(self, e: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(log_joint(e.detach())).float() + self.off


@pytest.fixture
def known() -> Any:
    """A VAE whose nets are those of a mixture of three linear-Gaussian models, in code units."""
    rng = np.random.default_rng(0)
    y = np.array(["a", "b", "c", None] * 15, dtype=object)
    model: Any = VAE(latent=1, hidden=(4,), steps=1, warmup=0.0, objective="iwae", random_state=0)
    model.fit(rng.normal(size=(60, 2)), y)
    still = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(still.weight)
    model.net_ = nn.ModuleDict(
        {"encoder": Encoder(), "decoder": Decoder(), "codes": NormalPrior(1), "prior": still, "labels": Exact()}
    )
    model.label_prior_ = FREQUENCIES
    return model.set_params(evidence=1.0)


def batch_of(n: int = 40, y: torch.Tensor | None = None, seed: int = 3) -> Batch:
    x = 1.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Batch(x, torch.full((n,), -1) if y is None else y, torch.Generator().manual_seed(seed), 0.5, 0)


def tilt(model: Any, off: list[float]) -> None:
    with torch.no_grad():
        model.net_["labels"].off.copy_(torch.tensor(off))


# -- the bound ---------------------------------------------------------------------------------------------------------
def test_without_labels_the_bound_is_exact_where_the_guess_is(known: Any) -> None:
    """With exact posteriors of z and y the bound is log p(x) = log sum_y p(x, y), but for labels left out as rare (1 %)."""
    batch = batch_of()
    exact = logsumexp(log_joint(batch.x), 1).mean()
    found = -float(known._loss(known.net_, batch)[0].detach())
    assert exact - 0.02 < found < exact + 1e-5


@pytest.mark.parametrize("off", [[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [-9.0, 0.0, 0.0]])
def test_a_wrong_guess_costs_its_divergence_from_the_posterior(known: Any, off: list[float]) -> None:
    """log p(x) less the bound is KL(q_S || p(y | x)), with q_S the guess among the labels that are kept."""
    tilt(known, off)
    batch = batch_of()
    joint = log_joint(batch.x)
    log_q = joint + np.array(off) - logsumexp(joint + np.array(off), 1, keepdims=True)
    log_q = np.where(log_q >= log_q.max(1, keepdims=True) + math.log(0.01), log_q, -np.inf)
    log_q -= logsumexp(log_q, 1, keepdims=True)
    posterior = joint - logsumexp(joint, 1, keepdims=True)
    with np.errstate(invalid="ignore"):
        divergence = np.where(np.isfinite(log_q), np.exp(log_q) * (log_q - posterior), 0).sum(1).mean()
    found = -float(known._loss(known.net_, batch)[0].detach())
    assert found == pytest.approx(logsumexp(joint, 1).mean() - divergence, abs=1e-4)
    assert divergence > 0.1


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_with_all_labels_the_loss_is_that_of_conditions(known: Any, objective: str) -> None:
    """But for the mean log frequency of the labels, and gradients are the same."""
    known.set_params(objective=objective)
    y = torch.arange(40) % 3
    losses, gradients = [], []
    for guesses in (True, False):
        known.guesses_ = guesses
        loss, _ = known._loss(known.net_, batch_of(y=y))
        losses.append(float(loss.detach()))
        gradients.append(torch.autograd.grad(loss, known.net_["decoder"].centres)[0])
    assert losses[0] == pytest.approx(losses[1] - float(FREQUENCIES.log()[y].mean()), abs=1e-5)
    torch.testing.assert_close(*gradients)


def test_the_bound_is_stationary_at_the_posterior_and_its_pull_on_the_guess_is_what_evidence_says(known: Any) -> None:
    def pull(evidence: float) -> torch.Tensor:
        loss, _ = known.set_params(evidence=evidence)._loss(known.net_, batch_of(400))
        return torch.autograd.grad(loss, known.net_["labels"].off)[0]

    assert float(pull(1.0).abs().max()) < 1e-4
    tilt(known, [1.0, 0.0, -1.0])
    whole = pull(1.0)
    assert float(whole.abs().max()) > 0.05
    torch.testing.assert_close(pull(0.3), 0.3 * whole)
    assert not pull(0.0).any()


def test_some_labels_are_a_mean_over_records_of_both_kinds(known: Any) -> None:
    """log p(x, y) where the label is known, log p(x) where it is not: exact here, but for rare labels."""
    y = torch.where(torch.arange(40) % 2 == 0, torch.arange(40) % 3, -1)
    batch = batch_of(y=y)
    joint = log_joint(batch.x)
    exact = np.where(y >= 0, joint[np.arange(40), y], logsumexp(joint, 1)).mean()
    assert -float(known._loss(known.net_, batch)[0].detach()) == pytest.approx(exact, abs=0.02)
    with torch.no_grad():
        assert known._validation(known.net_, batch)[1] == pytest.approx(exact, abs=0.02)


def test_dealt_labels_are_a_distribution() -> None:
    log_q = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)).mul(4).log_softmax(1)
    y = torch.where(torch.arange(30) % 3 == 0, torch.arange(30) % 6, -1)
    dealt = deal(torch.randn(30, 2), y, log_q, torch.full((6,), -math.log(6)))
    torch.testing.assert_close(dealt.gather(torch.ones(len(dealt.y), 2)), torch.ones(30, 2))
    assert torch.equal(dealt.gather(dealt.y.float())[y >= 0].round().long(), y[y >= 0])
    torch.testing.assert_close(dealt.cost[y >= 0], torch.full((10,), math.log(6)))
    assert (dealt.cost > -1e-6).all()
    assert 30 < len(dealt.x) < 30 * 6


# -- what a guess owes to records without a label ----------------------------------------------------------------------
def test_the_steepest_way_is_found_in_one_step() -> None:
    """Two labels, linear logits: the divergence within a ball is largest along the slope, one way or the other."""
    slope = torch.tensor([1.0, -2.0, 0.5])

    def guess(e: torch.Tensor) -> torch.Tensor:
        t = e @ slope
        return torch.stack([torch.nn.functional.logsigmoid(t), torch.nn.functional.logsigmoid(-t)], 1)

    rng = torch.Generator().manual_seed(0)
    e, noise = torch.randn(50, 3, generator=rng), torch.randn(50, 3, generator=rng)
    radius = torch.tensor(0.4)
    found = unevenness(guess, guess(e), e, noise, radius)
    ends = [
        (guess(e).exp() * (guess(e) - guess(e + way * radius * slope / slope.norm()))).sum(1) for way in (1.0, -1.0)
    ]
    assert (torch.minimum((found - ends[0]).abs(), (found - ends[1]).abs()) < 1e-4).all()
    assert (found > 0).all()


def test_moved_images_are_shifts_of_themselves() -> None:
    image = torch.rand(8, 2 * 6 * 5)
    near = Neighbours(lambda e: e, 0.1, (2, 6, 5), 0.4)
    moved = near.moved(image, Batch(image, None, torch.Generator().manual_seed(1), 0.0, 0)).view(8, 2, 6, 5)
    padded = torch.nn.functional.pad(image.view(8, 2, 6, 5), (2, 2, 2, 2), mode="replicate")
    seen = set()
    for n in range(8):
        fits = [(i, j) for i in range(5) for j in range(5) if torch.equal(moved[n], padded[n, :, i : i + 6, j : j + 5])]
        assert fits
        seen |= set(fits)
    assert len(seen) > 3


def test_only_records_with_a_label_are_drawn() -> None:
    code = Code(torch.arange(50.0)[:, None], torch.where(torch.arange(50) % 7 == 0, torch.arange(50), -1))
    x, y = Known(code).draw(Batch(torch.zeros(64, 1), None, torch.Generator().manual_seed(0), 0.0, 0))
    assert torch.equal(x[:, 0].long(), y)
    assert set(y.tolist()) == set(range(0, 50, 7))


# -- from end to end ---------------------------------------------------------------------------------------------------
def clouds(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three clouds and their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    return rng.normal(size=(n, 2)) + 5 * np.array([[0, 0], [1, 0], [0, 1]])[y], np.array(["a", "b", "c"], object)[y]


@pytest.fixture(scope="module")
def taught() -> Any:
    """A VAE that was told two labels of every cloud."""
    x, y = clouds(600)
    told = np.full(600, None, dtype=object)
    for label in "abc":
        rows = np.flatnonzero(y == label)[:2]
        told[rows] = label
    return VAE(latent=2, hidden=(32,), steps=250, lr=5e-3, samples=10, random_state=0).fit(x, told)


def test_two_labels_of_each_cloud_are_enough(taught: Any) -> None:
    x, y = clouds(500, seed=1)
    chances = taught.predict_proba(x)
    assert taught.classes_.tolist() == ["a", "b", "c"]
    assert chances.sum(1) == pytest.approx(np.ones(500), abs=1e-6)
    assert (taught.predict(x) == y).mean() > 0.97
    np.testing.assert_array_equal(taught.predict(x), taught.classes_[chances.argmax(1)])


def test_unknown_labels_are_guessed_where_one_is_needed(taught: Any) -> None:
    """Latent vectors of a record are those that it has with its likeliest label."""
    x, _ = clouds(50, seed=2)
    np.testing.assert_array_equal(taught.encode(x), taught.encode(x, taught.predict(x)))


def test_guesses_are_saved(taught: Any, tmp_path: Any) -> None:
    x, _ = clouds(20, seed=3)
    loaded = genlearn.load(taught.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict_proba(x), taught.predict_proba(x))
    np.testing.assert_array_equal(loaded.log_prob(x), taught.log_prob(x))


def test_what_is_hidden_does_not_reach_the_guess(taught: Any) -> None:
    x = torch.from_numpy(clouds(30, seed=4)[0])
    mask = torch.tensor([True, False]).expand(30, 2)
    other = torch.where(mask, x, x + 100)
    y = torch.full((30,), -1)
    assert torch.equal(taught._known_labels(Code(x, y, mask)), taught._known_labels(Code(other, y, mask)))


@pytest.mark.parametrize("objective", ["dreg", "info", "beta-tc"])
def test_objectives_that_need_all_labels_say_so(objective: str) -> None:
    x, y = clouds(20)
    y[0] = None
    with pytest.raises(Problem, match="Choose elbo or iwae"):
        VAE(objective=objective, steps=1, hidden=(4,)).fit(x, y)


@pytest.mark.parametrize("unknown", [None, np.nan, pd.NA])
def test_ways_to_write_an_unknown_label(unknown: Any) -> None:
    x, y = clouds(20)
    y[::2] = unknown
    settings: dict[str, Any] = {"steps": 1, "hidden": (4,), "latent": 1, "random_state": 0}
    models = [
        VAE(**settings).fit(x, y),
        VAE(**settings).fit(Records("table", pd.DataFrame(x).add_prefix("x").assign(y=y), target="y")),
        VAE(**settings).fit(np.zeros((20, 4, 4), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None], y),
    ]
    for model in models:
        assert model.guesses_
        assert set(model.classes_) <= {"a", "b", "c"}


def test_from_a_file_with_empty_cells_to_labels_in_a_file(tmp_path: Any, capsys: Any) -> None:
    x, y = clouds(300)
    told = np.where(np.arange(300) % 10 == 0, y, "")
    pd.DataFrame({"u": x[:, 0], "v": x[:, 1], "kind": told}).to_csv(tmp_path / "some.csv", index=False)
    pd.DataFrame({"u": x[:, 0], "v": x[:, 1]}).to_csv(tmp_path / "new.csv", index=False)
    words = "--target kind --latent 2 --hidden 32 --steps 150 --lr 0.005 --seed 0 --quiet --out"
    assert main(["fit", "vae", str(tmp_path / "some.csv"), *words.split(), str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv"), "--out", str(tmp_path / "l.csv")]) == 0
    found = pd.read_csv(tmp_path / "l.csv")
    assert list(found) == ["kind", "p(a)", "p(b)", "p(c)"]
    assert (found["kind"] == y).mean() > 0.95
    assert found.iloc[:, 1:].sum(axis=1).to_numpy() == pytest.approx(np.ones(300))


# -- labels by Bayes' rule ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model", [GMM(components=3, random_state=0), Forest(trees=3, random_state=0)], ids=["gmm", "forest"]
)
@pytest.mark.parametrize("form", ["table", "digits"])
def test_predictions_are_shares_of_the_joint_density(model: Any, form: str) -> None:
    """p(y | x) = p(x, y) / sum_y p(x, y), with the joint densities that `log_prob` gives; their sum is log p(x)."""
    x, y = clouds(200)
    if form == "digits":
        data = genlearn.read("digits").train.take(slice(0, 150))
        x, y = data.x[..., 0], np.asarray(data.y)
    model = model.fit(x, y)
    joint = np.stack([model.log_prob(x[:20], np.full(20, label)) for label in model.classes_], 1)
    np.testing.assert_allclose(
        model.predict_proba(x[:20]), np.exp(joint - logsumexp(joint, 1, keepdims=True)), atol=1e-6
    )
    assert model.log_prob(x[:20]) == pytest.approx(logsumexp(joint, 1), abs=1e-6)
    np.testing.assert_array_equal(model.predict(x[:20]), model.classes_[joint.argmax(1)])


def test_a_model_without_labels_has_no_predictions() -> None:
    x, _ = clouds(30)
    bare, number = GMM(components=1).fit(x), GMM(components=1).fit(x, x[:, 0] * 1.37)
    assert not hasattr(bare, "predict")
    with pytest.raises(Problem, match="fitted without labels"):
        bare.predict_proba(x)
    with pytest.raises(Problem, match="is a number"):
        number.predict(x)
