"""Hidden cells filled in: 30 % of abalone's and adult's, beside scikit-learn's imputers.

Three in ten cells of 1,000 held-out rows are hidden at random; everything is learned from other, complete rows. scikit-learn's
imputers get standardised numbers and one-hot categories; the largest of the filled-in indicators is their category. Errors are those of
the hidden cells alone: root mean square of numbers in standard deviations of their column, share of right categories.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from genlearn.data import read
from genlearn.data.records import Records
from genlearn.model import model_class

from .. import record
from ..checks import Check, Report

HIDDEN, ROWS, LEARNED = 0.3, 1000, 5000
MODELS = ("gmm", "mixture", "bayesnet", "treemixture", "forest")
TABLES = {"abalone": ("tables/abalone.csv", "rings"), "adult": ("tables/adult-train.csv", "income")}


def kinds(x: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the columns of numbers and those of categories."""
    numbers = [str(c) for c in x if pd.api.types.is_numeric_dtype(x[c]) and not pd.api.types.is_bool_dtype(x[c])]
    return numbers, [str(c) for c in x if c not in numbers]


def hide(x: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows with cells hidden, and where: True for cells that held a value before."""
    hidden = (np.random.default_rng(seed).random(x.shape) < HIDDEN) & x.notna().to_numpy()
    return x.astype({c: float for c in kinds(x)[0]}).mask(hidden), hidden


def errors(x: pd.DataFrame, filled: pd.DataFrame, hidden: np.ndarray, spread: pd.Series) -> tuple[float, float]:
    """Return root mean square error of hidden numbers in standard deviations, and the share of right categories."""
    numbers, categories = kinds(x)
    at = {c: hidden[:, i] for i, c in enumerate(x)}
    away = [((filled[c] - x[c]).astype(float)[at[c]] / spread[c]).to_numpy() for c in numbers]
    right = [(filled[c].astype(str) == x[c].astype(str))[at[c]].to_numpy() for c in categories]
    return float(np.sqrt(np.mean(np.concatenate(away) ** 2))), float(np.mean(np.concatenate(right)))


class Plain:
    """What scikit-learn's imputers see: standardised numbers, one-hot categories, missing where unknown."""

    def __init__(self, train: pd.DataFrame) -> None:
        self.numbers, self.categories = kinds(train)
        self.loc, self.scale = train[self.numbers].mean(), train[self.numbers].std()
        self.levels = {c: sorted(train[c].dropna().astype(str).unique()) for c in self.categories}

    def matrix(self, x: pd.DataFrame) -> np.ndarray:
        """Return rows as numbers."""
        parts = [((x[self.numbers] - self.loc) / self.scale).to_numpy(float)]
        for c in self.categories:
            known = x[c].notna().to_numpy()
            one = (x[c].astype(str).to_numpy()[:, None] == np.array(self.levels[c])).astype(float)
            parts.append(np.where(known[:, None], one, np.nan))
        return np.concatenate(parts, 1)

    def frame(self, z: np.ndarray, like: pd.DataFrame) -> pd.DataFrame:
        """Return numbers as rows."""
        out = like.copy()
        d = len(self.numbers)
        out[self.numbers] = z[:, :d] * self.scale.to_numpy() + self.loc.to_numpy()
        for c in self.categories:
            width = len(self.levels[c])
            out[c] = np.array(self.levels[c], dtype=object)[z[:, d : d + width].argmax(1)]
            d += width
        return out


def peers() -> dict[str, Callable[[], object]]:
    """Return scikit-learn's imputers."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer

    return {
        "IterativeImputer": lambda: IterativeImputer(random_state=0, max_iter=10),
        "KNNImputer": lambda: KNNImputer(n_neighbors=5),
    }


def own(name: str, train: Records, x: pd.DataFrame, hidden: np.ndarray) -> pd.DataFrame:
    """Return the hidden cells filled in by a model: means of numbers, most probable categories."""
    model = model_class(name)(random_state=0).fit(train)  # type: ignore[call-arg]
    holes = Records("table", x.mask(hidden), target=train.target, options=train.options)
    return model.impute(holes, hidden, how="mean", random_state=0)  # type: ignore[attr-defined, no-any-return]


def of_table(name: str, learned: int, rows: int) -> tuple[list[Check], dict[str, list[float]]]:
    """Return the checks of one table, and errors and seconds by method."""
    path, target = TABLES[name]
    data = read(record.data(path), target=target)
    train, test = data.train.take(slice(0, learned)), data.test.take(slice(0, rows))
    x, spread = test.x, train.x[kinds(train.x)[0]].std()
    holes, hidden = hide(x, 0)
    plain, found = Plain(train.x), {}
    for peer, make in peers().items():
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            z = make().fit(plain.matrix(train.x)).transform(plain.matrix(holes))  # type: ignore[attr-defined]
        found[peer] = [*errors(x, plain.frame(z, x), hidden, spread), time.perf_counter() - began]
    for model in MODELS:
        began = time.perf_counter()
        found[model] = [*errors(x, own(model, train, x, hidden), hidden, spread), time.perf_counter() - began]
    checks = []
    for model in MODELS:
        error, right, seconds = found[model]
        bars = [found[peer] for peer in peers()]
        met = error < min(b[0] for b in bars) and right > max(b[1] for b in bars)
        beside = "; ".join(f"{peer} {found[peer][0]:.3f}, {100 * found[peer][1]:.1f} %" for peer in peers())
        reached = f"{error:.3f} sd, {100 * right:.1f} % right, {seconds:.0f} s ({beside})"
        checks.append(Check(f"{name}: {model}", "smaller error and more right than both imputers", reached, met))
    return checks, found


def run(*, quick: bool = False) -> Report:
    """Hide cells, fill them in, count."""
    checks, details = [], {}
    for name in ["abalone"] if quick else TABLES:
        some, details[name] = of_table(name, 500 if quick else LEARNED, 100 if quick else ROWS)
        checks += some
    notes = [
        f"{ROWS} test rows, {100 * HIDDEN:.0f} % of the cells hidden at random; at most {LEARNED:,} training rows."
    ]
    return Report("Hidden cells filled in", checks, notes, [0], details)
