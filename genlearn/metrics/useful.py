r"""Are generated records good to learn from? Train on generated, test on real records.

Chance enters twice: which real records are asked, and which generated ones taught. The intervals add a delete-block jackknife over
the 20 blocks of test records, the predictor fixed, and one over five fifths of the training records, each of which costs a fit.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from .auc import auc_of, boosted
from .base import Result
from .intervals import FEWEST, block_ids, jackknife

FIFTHS = 5


def useful_classes(
    train: np.ndarray,
    train_y: np.ndarray,
    test: np.ndarray,
    test_y: np.ndarray,
    *,
    names: list[str],
    categorical: np.ndarray | None = None,
    seed: int = 0,
) -> Result:
    """Return the AUC on real test rows of HistGradientBoosting fitted on generated rows; macro one-against-rest above two.

    A class that no generated row has gets probability 0; the note names it.

    Arguments:
        train: `(m, d)` columns of generated rows.
        train_y: `(m,)` their label numbers; -1 or beyond `names` for rows to leave out.
        test: `(n, d)` columns of real rows.
        test_y: `(n,)` their label numbers.
        names: What the labels are called.
        categorical: `(d,)` True where a column holds level numbers.
        seed: Seed of the trees.
    """

    def probabilities(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
        return boosted(HistGradientBoostingClassifier, len(x), categorical, seed).fit(x, y).predict_proba(at)

    def macro_auc(p: np.ndarray, y: np.ndarray) -> float:
        present = [k for k in range(len(names)) if 0 < (y == k).sum() < len(y)]
        present = present[-1:] if len(names) == 2 else present
        return float(np.mean([auc_of(p[y != k, k], p[y == k, k]) for k in present])) if present else np.nan

    return _classes(train, train_y, test, test_y, names, probabilities, macro_auc, "AUC")


def useful_features(
    train: np.ndarray, train_y: np.ndarray, test: np.ndarray, test_y: np.ndarray, *, names: list[str]
) -> Result:
    """Return the accuracy on real test records of logistic regression fitted on features of generated records.

    Arguments as in `useful_classes`, with features for columns.
    """

    def probabilities(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
        loc, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
        return LogisticRegression(max_iter=100).fit((x - loc) / scale, y).predict_proba((at - loc) / scale)

    def accuracy(p: np.ndarray, y: np.ndarray) -> float:
        return float((p.argmax(1) == y).mean())

    return _classes(train, train_y, test, test_y, names, probabilities, accuracy, "accuracy")


def useful_number(
    train: np.ndarray,
    train_y: np.ndarray,
    test: np.ndarray,
    test_y: np.ndarray,
    *,
    categorical: np.ndarray | None = None,
    seed: int = 0,
) -> Result:
    r"""Return \(R^2 = 1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2\) on real rows of boosted trees fitted on generated rows.

    Arguments as in `useful_classes`, with numbers for labels (NaN for rows to leave out).
    """
    train, train_y = train[np.isfinite(train_y)], train_y[np.isfinite(train_y)]
    test, test_y = test[np.isfinite(test_y)], test_y[np.isfinite(test_y)]
    n = len(test_y)
    if min(n, len(train_y)) < FEWEST:
        return Result.unavailable(f"fewer than {FEWEST} rows with a target", n)
    if np.ptp(test_y) == 0:
        return Result.unavailable("the real target does not vary", n)

    def predict(rows: np.ndarray) -> np.ndarray:
        model = boosted(HistGradientBoostingRegressor, int(rows.sum()), categorical, seed)
        return model.fit(train[rows], train_y[rows]).predict(test)

    def r2(guess: np.ndarray, keep: np.ndarray) -> float:
        y = test_y[keep]
        spread = np.sum((y - y.mean()) ** 2)
        return float(1 - np.sum((y - guess[keep]) ** 2) / spread) if spread > 0 else np.nan

    return _judged(predict, r2, len(train), n, low=-np.inf, note="R2")


def _classes(
    train: np.ndarray,
    train_y: np.ndarray,
    test: np.ndarray,
    test_y: np.ndarray,
    names: list[str],
    probabilities: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    measure: Callable[[np.ndarray, np.ndarray], float],
    what: str,
) -> Result:
    train_known = (train_y >= 0) & (train_y < len(names))
    test_known = (test_y >= 0) & (test_y < len(names))
    train, train_y, test, test_y = train[train_known], train_y[train_known], test[test_known], test_y[test_known]
    n = len(test_y)
    if min(n, len(train_y)) < FEWEST:
        return Result.unavailable(f"fewer than {FEWEST} labelled records", n)
    if len(np.unique(test_y)) < 2:
        return Result.unavailable("real test records have one label only", n)

    def predict(rows: np.ndarray) -> np.ndarray:
        p, seen = np.zeros((n, len(names))), np.unique(train_y[rows])
        p[:, seen] = probabilities(train[rows], train_y[rows], test) if len(seen) > 1 else 1.0
        return p

    lost = [names[k] for k in range(len(names)) if k not in train_y and (test_y == k).any()]
    note = what + (f"; no records of: {', '.join(lost[:5])}{' ...' if len(lost) > 5 else ''}" if lost else "")
    with warnings.catch_warnings():
        # Separable classes reach the iteration limit when the boundaries stand long since; forty people with one portrait
        # each are classes all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes")
        return _judged(predict, lambda p, keep: measure(p[keep], test_y[keep]), len(train), n, low=0.0, note=note)


def _judged(
    predict: Callable[[np.ndarray], np.ndarray],
    measure: Callable[[np.ndarray, np.ndarray], float],
    m: int,
    n: int,
    *,
    low: float,
    note: str,
) -> Result:
    """Return a measure of predictions with its interval over blocks of test records and fifths of training records.

    Arguments:
        predict: Maps `(m,)` which training records to use to predictions of all test records.
        measure: Maps predictions and `(n,)` which test records to use to the value.
        m: Number of training records.
        n: Number of test records.
    """
    block, fifth, everyone = block_ids(n), block_ids(m, FIFTHS), np.ones(n, dtype=bool)
    guess = predict(np.ones(m, dtype=bool))
    left_out = np.array([measure(guess, block != k) for k in range(block.max() + 1)])
    taught = np.array([measure(predict(fifth != k), everyone) for k in range(FIFTHS)])
    # Spread over the blocks, five values keep their own jackknife variance by this factor.
    blocks = len(left_out)
    share = math.sqrt((FIFTHS - 1) / (blocks - 1))
    left_out += share * (taught - taught.mean())[np.arange(blocks) % FIFTHS]
    return jackknife(measure(guess, everyone), left_out, n=n, low=low, high=1.0, note=note)
