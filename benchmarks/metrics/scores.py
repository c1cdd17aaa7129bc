r"""Is the VAE's score right? Its importance-weighted bound beside the exact log density of a linear-Gaussian model.

The nets of a VAE are replaced by those of \(x = W z + s \varepsilon\) with standard normal z and \(\varepsilon\), hence
\(p(x) = N(x; 0, W W^\top + s^2 I)\), and by an encoder with the posterior's mean and the diagonal of its covariance. The
columns of W are not orthogonal, so that the encoder's normal is not the posterior and the bounds lie apart. Scores come from the
product, `model.log_prob`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from genlearn.models.vae import VAE
from genlearn.nn import NormalPrior

from ..checks import Check, Report

BAR = 0.05
COUNTS = (1, 10, 100, 1000, 5000)


@dataclass(frozen=True)
class Linear:
    """A linear-Gaussian model: `weights` `(d, latent)` and the standard deviation of the noise."""

    weights: Tensor
    noise: float

    @classmethod
    def drawn(cls, d: int, latent: int, *, noise: float = 1.0, seed: int = 0) -> Linear:
        """Return a model with normal weights, scaled so that signal and noise have equal variance per coordinate."""
        rng = torch.Generator().manual_seed(seed)
        return cls(torch.randn(d, latent, generator=rng) / math.sqrt(latent), noise)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of x."""
        weights = self.weights.double().numpy()
        return weights @ weights.T + self.noise**2 * np.eye(len(weights))

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Return gain `(latent, d)` and covariance of p(z | x)."""
        w = self.weights.double()
        covariance = torch.linalg.inv(torch.eye(w.shape[1], dtype=w.dtype) + w.T @ w / self.noise**2)
        return covariance @ w.T / self.noise**2, covariance

    def vae(self) -> Any:
        """Return a fitted VAE whose nets are this model's, in units of codes."""
        d, latent = self.weights.shape
        model: Any = VAE(latent=latent, hidden=(4,), steps=1, random_state=0)
        model.fit(np.random.default_rng(0).normal(size=(64, d)))
        model.net_ = nn.ModuleDict({"encoder": _Encoder(self), "decoder": _Decoder(self), "codes": NormalPrior(latent)})
        return model

    def exact(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return the exact log densities of records in the VAE's units, nats."""
        code = model.codec_.encode(model._records_of(x, None))
        marginal = multivariate_normal(np.zeros(len(self.weights)), self.covariance)
        return marginal.logpdf(code.x.numpy()) + code.log_det.numpy()

    def draw(self, model: Any, n: int, seed: int = 1) -> np.ndarray:
        """Return records `(n, d)` of this model in the units that the VAE was fitted in."""
        codes = np.random.default_rng(seed).multivariate_normal(np.zeros(len(self.weights)), self.covariance, size=n)
        unit = model.codec_.encode(model._records_of(np.stack([np.zeros(len(codes.T)), np.ones(len(codes.T))]), None))
        at_zero, at_one = unit.x.double().numpy()
        return (codes - at_zero) / (at_one - at_zero)  # codes are affine in the records


class _Decoder(nn.Module):
    """Means and log standard deviations of x given z."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, z: Tensor) -> Tensor:
        mean = z @ self.linear.weights.T
        return torch.cat([mean, torch.full_like(mean, math.log(self.linear.noise))], 1)


class _Encoder(nn.Module):
    """The posterior's mean and the standard deviations on the diagonal of its covariance."""

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        gain, covariance = linear.posterior()
        self.gain, self.log_sd = gain.float(), covariance.diagonal().sqrt().log().float()

    def forward(self, x: Tensor) -> Tensor:
        mean = x @ self.gain.T
        return torch.cat([mean, self.log_sd.expand_as(mean)], 1)


def gaps(linear: Linear, counts: tuple[int, ...], *, n: int, repeats: int) -> np.ndarray:
    """Return `(counts, repeats)`: exact minus mean score, nats per record, for several sets of importance noise."""
    model = linear.vae()
    x = linear.draw(model, n)
    exact = linear.exact(model, x).mean()
    found = np.empty((len(counts), repeats))
    for i, count in enumerate(counts):
        model.set_params(samples=count)
        for seed in range(repeats):
            model.seed_ = seed
            found[i, seed] = exact - model.score(x)
    return found


def run(*, quick: bool = False) -> Report:
    """Compare scores with exact values in 5, 10 and 20 latent dimensions."""
    counts = (1, 10, 100) if quick else COUNTS
    checks, details = [], {}
    for d, latent in ((20, 5), (50, 10), (100, 20)):
        found = gaps(Linear.drawn(d, latent), counts, n=100 if quick else 500, repeats=3 if quick else 5)
        mean, error = found.mean(1), found.std(1, ddof=1) / math.sqrt(found.shape[1])
        details[f"{latent} of {d}"] = {
            "K": list(counts),
            "gap": mean.round(4).tolist(),
            "error": error.round(4).tolist(),
        }
        what = f"VAE with {latent} latent and {d} data dimensions"
        worst = float(np.abs(found[-1]).max())
        reached = f"{worst:.4f} nat at worst of {found.shape[1]} sets of noise"
        checks.append(
            Check(f"{what}: score beside exact, K = {counts[-1]}", f"within {BAR} nat", reached, worst <= BAR)
        )
        ordered = (np.diff(mean) < 3 * np.hypot(error[1:], error[:-1])).all() and (mean > -3 * error).all()
        shown = " > ".join(f"{m:.3f}" for m in mean)
        ks = ", ".join(map(str, counts))
        checks.append(Check(f"{what}: exact minus score, K = {ks}", "falls, not below 0", shown, bool(ordered)))
    note = (
        "Weights are set, not trained, so that the exact value is known; K = 1 is the ELBO. "
        "Falling and not below 0 are tested within three standard errors over sets of importance noise."
    )
    return Report("The VAE's score beside the exact log density", checks, [note], [0, 1, 2, 3, 4], details)
