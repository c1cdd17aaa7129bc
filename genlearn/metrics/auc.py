r"""Can a classifier tell generated from real records? The classifier two-sample test."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .base import Result
from .intervals import FEWEST, block_ids, jackknife, widened

FOLDS = 5
TREES = 100
Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def auc_of(low: np.ndarray, high: np.ndarray) -> float:
    r"""Return the chance that a draw from `high` beats one from `low`, ties counted half (the Mann-Whitney statistic).

    Example:
        >>> auc_of(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        0.875
    """
    ranks = rankdata(np.concatenate([low, high]))
    n, m = len(low), len(high)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def two_sample_auc(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    classifier: Literal["linear", "trees"] = "linear",
    categorical: np.ndarray | None = None,
    seed: int = 0,
) -> Result:
    r"""Return the pooled out-of-fold AUC of 5-fold cross-validation, real against generated; 0.5 = cannot tell.

    Every record is scored by a classifier that did not see it. The 95 % interval is a delete-block jackknife on these
    scores with its spread widened by \(\sqrt2\). The jackknife alone holds the classifiers fixed. But record \(i\) is also
    training data where record \(j\) is scored, and the other way round, so that their joint term enters the pooled AUC twice.
    Where the classes are alike this term is all the variance there is, and the fixed-classifier value is half of the true
    one (simulated ratios: 2.0). Where a classifier finds something the ratio falls to 1; the interval then is wider than need be
    and covers 98 % of the time.

    Arguments:
        real: `(n, d)` features of real records, in random order.
        fake: `(m, d)` features of generated records, in random order.
        classifier: `linear` is logistic regression on standardised features, `trees` is HistGradientBoosting, 100 trees.
        categorical: `(d,)` True where a column holds category numbers; only `trees` uses it.
        seed: Seed of the trees.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), https://arxiv.org/abs/1610.06545

    Example:
        >>> x = np.random.default_rng(0).normal(size=(400, 2))
        >>> two_sample_auc(x[:200], x[200:] + 9).value
        1.0
    """
    n = min(len(real), len(fake))
    if n < FEWEST:
        return Result.unavailable(f"fewer than {FEWEST} records", n)
    score = _linear if classifier == "linear" else _trees(categorical, seed)
    a, b = out_of_fold(real, fake, score)
    value = auc_of(a, b)
    if np.ptp(np.concatenate([a, b])) == 0:
        half = 1.96 / math.sqrt(6 * n) * math.sqrt(2)
        return Result(
            value, max(0.0, value - half), min(1.0, value + half), n, "too few records for the trees to split"
        )
    left, right = block_ids(len(a)), block_ids(len(b))
    left_out = np.array([auc_of(a[left != k], b[right != k]) for k in range(min(left.max(), right.max()) + 1)])
    return jackknife(value, widened(left_out, math.sqrt(2)), n=n, low=0.0, high=1.0)


def out_of_fold(real: np.ndarray, fake: np.ndarray, score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Return scores of real `(n,)` and generated `(m,)` records, each by a classifier fitted without its fold."""
    x = np.concatenate([real, fake])
    y = np.repeat([0, 1], [len(real), len(fake)])
    fold = np.concatenate([block_ids(len(real), FOLDS), block_ids(len(fake), FOLDS)])
    out = np.empty(len(x))
    for k in range(FOLDS):
        train = fold != k
        out[~train] = score(x[train], y[train], x[~train])
    return out[y == 0], out[y == 1]


def _linear(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    loc, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-8 * (1 + np.abs(loc)), scale, np.inf)
    model = LogisticRegression(solver="newton-cholesky", max_iter=200)
    with warnings.catch_warnings():
        # Separable classes stop at the iteration limit: the order of the scores, which is all that counts, stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit((x - loc) / scale, y).decision_function((test - loc) / scale)


def _trees(categorical: np.ndarray | None, seed: int) -> Score:
    def score(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
        return boosted(HistGradientBoostingClassifier, len(x), categorical, seed).fit(x, y).decision_function(test)

    return score


def boosted(kind: Callable[..., Any], n: int, categorical: np.ndarray | None, seed: int) -> Any:
    """Return an unfitted HistGradientBoosting classifier or regressor with 100 trees, no early stop.

    Leaves hold at least 20 records, fewer below 400 records: 20 of 30 would leave nothing to split.
    """
    leaf = int(np.clip(n // 20, 2, 20))
    return kind(
        max_iter=TREES,
        early_stopping=False,
        min_samples_leaf=leaf,
        categorical_features=categorical if categorical is not None and categorical.any() else None,
        random_state=seed,
    )
