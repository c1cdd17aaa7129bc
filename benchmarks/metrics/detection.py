r"""Is it seen when a model forgets a mode, varies too little, or shifts a column? And is a perfect model left in peace?

Tables: a mixture of ten normals in eight columns, a thousand generated rows against a thousand real ones, through the product's
yardstick and its rule (`metrics.alike.differences`, which makes the note "not like real" of every judgement). Images: real MNIST
digits that nobody trained on, in the product's feature spaces, with and without one of the ten digits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from genlearn.data import read
from genlearn.data.records import Dataset, Records, as_records
from genlearn.metrics import Yardstick
from genlearn.metrics.alike import differences
from genlearn.metrics.features import Space, spaces

from .. import record
from ..checks import Check, Report
from .parallel import draws, workers

N = 1000
MODES, COLUMNS, APART = 10, 8, 2.0
CENTRES = APART * np.random.default_rng(0).normal(size=(MODES, COLUMNS))
CENTRE = CENTRES.mean(0)
SHIFT = 0.3 * math.sqrt(1 + CENTRES[:, 0].var())  # 0.3 standard deviations of the first column


def rows(rng: np.random.Generator, n: int, modes: int = MODES) -> np.ndarray:
    """Draw rows of the mixture, `(n, 8)`, from its first modes."""
    return CENTRES[rng.integers(modes, size=n)] + rng.normal(size=(n, COLUMNS))


TABLES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "equal laws": lambda rng: rows(rng, N),
    "one of ten modes dropped": lambda rng: rows(rng, N, MODES - 1),
    "variance x 0.9": lambda rng: CENTRE + math.sqrt(0.9) * (rows(rng, N) - CENTRE),
    "one column shifted by 0.3 sd": lambda rng: rows(rng, N) + SHIFT * np.eye(COLUMNS)[0],
}


def table_signs(change: str, seed: int) -> tuple[str, ...]:
    """Return which metrics tell one draw of a changed model from real rows."""
    rng = np.random.default_rng((seed, len(change)))
    train, real = as_records(rows(rng, N)), as_records(rows(rng, N))
    yardstick = Yardstick(Dataset("mixture", train, real, real))
    return differences(yardstick.judge(as_records(TABLES[change](rng)), full=False).metrics)


class Digits:
    """Features of MNIST digits that the feature spaces were not trained on, and draws from them."""

    def __init__(self) -> None:
        data = read(record.data("mnist"))
        whole = Records.join([data.train, data.valid, data.test])
        order = np.random.default_rng(0).permutation(len(whole))
        train, pool = whole.take(order[:10_000]), whole.take(order[10_000:34_000])
        found = spaces(Dataset("digits", train, pool.take(slice(0, 1000)), pool))
        features = {name: space(pool) for name, space in found.items()}
        # Records stand for their features by number, so that a draw costs no convolutions.
        self.spaces = {name: Space("A" if name == "A" else "B", "", _lookup(features[name])) for name in features}
        self.labels = np.asarray(pool.labels).astype(int)

    def signs(self, without: int | None, seed: int) -> tuple[str, ...]:
        """Return which metrics tell a thousand digits, of which one kind may be missing, from a thousand others."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.labels))
        real, rest = order[:N], order[N:]
        fake = rest[self.labels[rest] != without][:N]
        yardstick = Yardstick(Dataset("digits", _numbered(real), _numbered(real), _numbered(real)))
        yardstick.spaces = self.spaces
        return differences(yardstick.judge(_numbered(fake), full=False).metrics)


def _lookup(features: np.ndarray) -> Callable[[Records], np.ndarray]:
    return lambda records: features[records.x["number"].to_numpy()]


def _numbered(numbers: np.ndarray) -> Records:
    return Records("table", pd.DataFrame({"number": numbers}), options={"types": {"number": "real"}})


def _signs(quick: bool) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the name of every case and the signs of its draws."""
    with workers() as pool:
        for change in TABLES:
            yield f"table, {change}", draws(pool, partial(table_signs, change), 10 if quick else 200)
    if not quick:
        digits = Digits()
        yield "MNIST, other real digits", [digits.signs(None, seed) for seed in range(100)]
        yield "MNIST without one of ten digits", [digits.signs(seed % 10, seed) for seed in range(100)]


def run(*, quick: bool = False) -> Report:
    """Count how often the rule says "not like real", and which metrics say it."""
    checks, details = [], {}
    for name, found in _signs(quick):
        count = len(found)
        share = sum(map(bool, found)) / count
        error = math.sqrt(max(share * (1 - share), 1 / count) / count)
        by = Counter(metric for each in found for metric in each)
        details[name] = {metric: times / count for metric, times in by.items()}
        alike = "equal" in name or "other" in name
        slack = 3 * error if quick else 0.0
        met = share <= 0.10 + slack if alike else share >= 0.90 - slack
        told = ", ".join(f"{metric} {100 * times / count:.0f} %" for metric, times in by.most_common())
        reached = f"{100 * share:.1f} ± {100 * error:.1f} %" + (f" ({told})" if told else "")
        checks.append(Check(name, "at most 10 % accused" if alike else "at least 90 % seen", reached, met))
    notes = [f"{N} generated against {N} real records. Shares of single metrics in brackets; binomial standard errors."]
    return Report('What the rule "not like real" sees', checks, notes, [0], details)
