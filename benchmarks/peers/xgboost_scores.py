"""Two-sample and utility scores by XGBoost, in its own environment: prints JSON.

Usage: benchmarks/peers/xgboost/bin/python benchmarks/peers/xgboost_scores.py TRAIN.csv TEST.csv SYNTHETIC.csv TARGET [quick]

The numbers are those of the protocol "two-sample and utility" of TabDiff and TabPC (https://arxiv.org/abs/2603.23016). Numbers
stay as they are, categories become one column per level, and an empty cell is a level of its own.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import ParameterGrid, StratifiedKFold
from xgboost import XGBClassifier, __version__

GRID = {"n_estimators": [10, 50, 100], "min_child_weight": [1, 10], "max_depth": [5, 10, 20], "gamma": [0.0, 1.0]}
QUICK = {"n_estimators": [50], "min_child_weight": [10], "max_depth": [5], "gamma": [0.0]}
EMPTY = "(empty)"


def text(column: pd.Series) -> np.ndarray:
    """Return categories as text."""
    return column.astype(object).where(column.notna(), EMPTY).astype(str).to_numpy()


def features(frame: pd.DataFrame, levels: dict[str, np.ndarray]) -> np.ndarray:
    """Return `(n, features)` float32: numbers, and one column per level."""
    parts = []
    for name in map(str, frame):
        if name in levels:
            parts.append((text(frame[name])[:, None] == levels[name]).astype(np.float32))
        else:
            parts.append(frame[name].to_numpy(np.float32)[:, None])
    return np.concatenate(parts, 1)


def detection(real: np.ndarray, fake: np.ndarray) -> float:
    """Return 1 minus the mean over three folds of 2 max(AUC, 1/2) - 1: 1 where nothing tells them apart."""
    x, y = np.concatenate([real, fake]), np.repeat([1, 0], [len(real), len(fake)])
    told = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(x, y):
        model = XGBClassifier(random_state=0).fit(x[train], y[train])
        told.append(2 * max(roc_auc_score(y[test], model.predict_proba(x[test])[:, 1]), 0.5) - 1)
    return 1 - float(np.mean(told))


def utility(fake: np.ndarray, fake_y: np.ndarray, test: np.ndarray, test_y: np.ndarray, grid: dict) -> float:
    """Return the AUC on real records of the classifier that is best on a ninth of the synthetic ones."""
    order = np.random.default_rng(0).permutation(len(fake))
    own, rest = order[: len(fake) // 9], order[len(fake) // 9 :]
    best, best_score = None, -1.0
    for setting in ParameterGrid(grid):
        model = XGBClassifier(**setting, tree_method="hist", random_state=0).fit(fake[rest], fake_y[rest])
        score = roc_auc_score(fake_y[own], model.predict_proba(fake[own])[:, 1])
        if score > best_score:
            best, best_score = model, score
    assert best is not None
    return float(roc_auc_score(test_y, best.predict_proba(test)[:, 1]))


def main(arguments: list[str], grid: dict) -> None:
    """Print the scores of one synthetic table."""
    began = time.perf_counter()
    *files, target = arguments
    train, test, fake = map(pd.read_csv, files)
    fake = fake[list(train.columns)]
    levels = {str(c): np.unique(text(train[c])) for c in train if not pd.api.types.is_numeric_dtype(train[c])}
    levels.setdefault(target, np.unique(text(train[target])))
    x, real_test, synthetic = (features(f, levels) for f in (train, test, fake))
    m = min(len(real_test), len(synthetic))
    positive = levels[target][-1]
    inputs = [features(f.drop(columns=target), levels) for f in (fake, test)]
    answers = [(text(f[target]) == positive).astype(int) for f in (fake, test)]
    found = {
        "detection": detection(x, synthetic),
        "detection against test": detection(real_test[:m], synthetic[:m]),
        "utility": utility(inputs[0], answers[0], inputs[1], answers[1], grid),
        "rows": [len(x), len(real_test), len(synthetic)],
        "seconds": time.perf_counter() - began,
        "xgboost": __version__,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:5], QUICK if sys.argv[5:] == ["quick"] else GRID)
