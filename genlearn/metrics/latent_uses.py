"""Are latent vectors good to work with? Clusters that agree with labels, and labels that a linear classifier reads off."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .base import Result
from .intervals import FEWEST, block_ids, jackknife

STARTS = 4  # of k-means
ITERATIONS = 200  # of the classifier


def purity(vectors: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> Result:
    """Return the share of records that bear the commonest label of their k-means cluster; as many clusters as labels.

    1: clusters are labels. The interval takes the clusters as they are.

    Arguments:
        vectors: `(n, d)` latent vectors, or features of the records themselves.
        labels: `(n,)`.
        seed: Seed of the starts.

    Example:
        >>> x = np.repeat([[0.0], [9.0]], 20, 0)
        >>> purity(x, np.repeat(["a", "b"], 20)).value
        1.0
    """
    names, level = np.unique(labels, return_inverse=True)
    if len(names) < 2 or len(vectors) < max(FEWEST, len(names)):
        return Result.unavailable("fewer than two labels, or too few records", len(vectors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
        cluster = KMeans(len(names), n_init=STARTS, random_state=seed).fit_predict(_scaled(vectors, vectors))
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (cluster, level), 1)
    return _share(counts.argmax(1)[cluster] == level)


def linear_probe(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> Result:
    """Return the share of held-out labels that a logistic regression on the vectors guesses right.

    Arguments:
        train: `(n, d)` vectors to learn from.
        train_labels: `(n,)`.
        test: `(m, d)` vectors to be judged by.
        test_labels: `(m,)`.

    Example:
        >>> x = np.linspace(-1, 1, 40)[:, None]
        >>> linear_probe(x, x[:, 0] > 0, x, x[:, 0] > 0).value > 0.9
        True
    """
    if len(np.unique(train_labels)) < 2 or len(test) < FEWEST:
        return Result.unavailable("fewer than two labels, or too few records", len(test))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=ITERATIONS).fit(_scaled(train, train), train_labels)
    return _share(model.predict(_scaled(test, train)) == test_labels)


def _share(right: np.ndarray) -> Result:
    block, n = block_ids(len(right)), len(right)
    left_out = np.array([right[block != k].mean() for k in range(block.max() + 1)])
    return jackknife(float(right.mean()), left_out, n=n, low=0.0, high=1.0)


def _scaled(vectors: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return vectors less the mean of others and over one common scale: dimensions keep their sizes relative to each other."""
    centre = np.asarray(by, np.float64).mean(0)
    scale = np.sqrt(np.square(by - centre).mean(0).max()) or 1.0
    return (vectors - centre) / scale
