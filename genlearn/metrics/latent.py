r"""Does a latent model use its latent space, and does the space look like its prior? Functions of posterior means and scales."""

from __future__ import annotations

import numpy as np

from .auc import two_sample_auc
from .base import Result

ACTIVE = 0.01


def active_units(mean: np.ndarray) -> Result:
    r"""Return how many latent dimensions vary with the record: \(\operatorname{var}_x \mathbb E[z_j \mid x] > 0.01\).

    Arguments:
        mean: `(n, d)` posterior means of held-out records.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519

    Example:
        >>> active_units(np.array([[0.0, 1.0], [0.001, -1.0]]))
        Result(1, n=2, of 2)
    """
    count = int((np.var(mean, axis=0) > ACTIVE).sum())
    return Result(float(count), n=len(mean), note=f"of {mean.shape[1]}")


def kl_per_dim(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    r"""Return `(d,)` nats that each latent dimension carries, \(\operatorname{KL}(\mathcal N(\mu, \sigma^2) \| \mathcal N(0, 1))\).

    \[ \tfrac12 (\mu^2 + \sigma^2 - 1 - \ln \sigma^2), \text{ averaged over records.} \]

    Arguments:
        mean: `(n, d)` posterior means.
        std: `(n, d)` posterior standard deviations, above 0.

    Example:
        >>> kl_per_dim(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])).tolist()
        [0.0, 0.5]
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    return (0.5 * (mean**2 + std**2 - 1) - np.log(std)).mean(0)


def kl(mean: np.ndarray, std: np.ndarray) -> Result:
    """Return the nats per record that pass through the latent space, summed over dimensions (see `kl_per_dim`).

    Example:
        >>> kl(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]])).value
        0.5
    """
    each = kl_per_dim(mean, std)
    return Result(float(each.sum()), n=len(mean), note=f"largest dimension {each.max():.2f}")


def posterior_auc(mean: np.ndarray, std: np.ndarray, *, prior: np.ndarray | None = None, seed: int = 0) -> Result:
    r"""Return the two-sample AUC of aggregated posterior draws \(z \sim q(z \mid x)\) against draws of the prior.

    0.5: what the decoder is given when sampling looks like what it was trained on. Trees tell the two apart, since a linear
    classifier would see means only.

    Arguments:
        mean: `(n, d)` posterior means of held-out records.
        std: `(n, d)` posterior standard deviations.
        prior: `(n, d)` draws of the prior; standard normal ones if there are none.
        seed: Seed of the draws.

    References:
        Distribution Matching in Variational Inference (Rosca et al., 2018), https://arxiv.org/abs/1802.06847
    """
    rng = np.random.default_rng((seed, len(mean), 0x9E37))  # no one else's stream: equal draws would pair up
    posterior = mean + std * rng.standard_normal(mean.shape)
    drawn = rng.standard_normal(mean.shape) if prior is None else prior
    return two_sample_auc(drawn, posterior, classifier="trees", seed=seed)
