r"""Are copies of training records found, and honest models not accused?

Honest records are real ones that no one trained on. One in a hundred of them is replaced by a copy of a training record: exact, or
with noise of 0.3 standard deviations in every number or pixel (binary pixels flip with the probability that gives the same
mean square). Nearest neighbours of the whole pool of held-out records and of copies are found once by the product's search;
every draw deals the pool anew into held-out and generated records, plants copies, and asks the product's tail test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from genlearn.data import read
from genlearn.data.records import Records
from genlearn.metrics import tail_test
from genlearn.metrics.image_features import pixel_vectors
from genlearn.metrics.neighbours import Nearest, nearest
from genlearn.metrics.schema import Schema
from genlearn.metrics.table_features import Columns

from .. import record
from ..checks import Check, Report

NOISE = 0.3
PLANTED = 0.01
N = 2000
COPIES = 3000


@dataclass(frozen=True)
class Pool:
    """Neighbours in the training records: of honest records, of exact copies and of noisy ones."""

    honest: Nearest
    exact: Nearest
    noisy: Nearest

    @classmethod
    def of(cls, train: np.ndarray, honest: np.ndarray, noisy: np.ndarray) -> Pool:
        """Find the neighbours of vectors."""
        return cls(nearest(honest, train), nearest(train[: len(noisy)], train), nearest(noisy, train))

    def flagged(self, kind: str, *, n: int, draws: int) -> float:
        """Return the share of draws that are flagged: `honest`, or with one per cent `exact` or `noisy` copies."""
        count = 0
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            rows = rng.permutation(len(self.honest.distance))
            held_out, fake = _take(self.honest, rows[:n]), _take(self.honest, rows[n : 2 * n])
            if kind != "honest":
                copies = self.exact if kind == "exact" else self.noisy
                planted = round(PLANTED * n)
                chosen = _take(copies, rng.choice(len(copies.distance), planted, replace=False))
                fake = Nearest(*(np.concatenate([c, f[planted:]]) for c, f in zip(chosen, fake, strict=True)))
            count += tail_test(fake, held_out).flag is True
        return count / draws


def _take(found: Nearest, rows: np.ndarray) -> Nearest:
    return Nearest(*(values[rows] for values in found))


# -- records -----------------------------------------------------------------------------------------------------------
def mixed(n: int, seed: int) -> Records:
    """Return a synthetic table: twelve correlated numbers and four categories that depend on them."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 4))
    numbers = shared @ np.random.default_rng(0).normal(size=(4, 12)) + rng.normal(size=(n, 12))
    frame = pd.DataFrame(numbers, columns=[f"x{j}" for j in range(12)])
    for j in range(4):
        frame[f"c{j}"] = np.array(list("abcde"))[
            np.digitize(shared[:, j] + 0.5 * rng.normal(size=n), [-1, -0.3, 0.3, 1])
        ]
    return Records("table", frame)


def table_pool(train: Records, honest: Records) -> Pool:
    """Return the neighbours of table rows in the product's space A."""
    columns, rng = Columns(Schema.of(train)), np.random.default_rng(1)
    frame = train.x.iloc[:COPIES].copy()
    for name in columns.sorted:
        frame[name] = frame[name] + NOISE * train.x[name].std() * rng.normal(size=len(frame))
    return Pool.of(columns.embed(train), columns.embed(honest), columns.embed(Records("table", frame, train.target)))


def image_pool(train: Records, honest: Records) -> Pool:
    """Return the neighbours of images as pixels."""
    x, y, rng = pixel_vectors(train, train), pixel_vectors(honest, train), np.random.default_rng(1)
    first, deviation = x[:COPIES], x.std(0)
    if np.isin(first, (0, 1)).all():
        noisy = np.abs(first - (rng.random(first.shape) < (NOISE * deviation) ** 2))
    else:
        noisy = np.clip(first + NOISE * deviation * rng.normal(size=first.shape), 0, 1)
    return Pool.of(x, y, noisy.astype(np.float32))


def _parts(name: str, train: int, honest: int, target: str | None = None) -> tuple[Records, Records]:
    """Return records of a data set that was dealt anew, so that held-out ones follow the law of the others."""
    data = read(record.data(name), target=target)
    whole = Records.join([data.train, data.valid, data.test])
    rows = np.random.default_rng(0).permutation(len(whole))
    return whole.take(rows[:train]), whole.take(rows[train : train + honest])


POOLS: dict[str, Callable[[], Pool]] = {
    "synthetic mixed table": lambda: table_pool(mixed(10_000, 1), mixed(10_000, 2)),
    "adult": lambda: table_pool(*_parts("tables/adult-train.csv", 20_000, 12_561, "income")),
    "MNIST": lambda: image_pool(*_parts("mnist", 20_000, 12_000)),
    "binarized MNIST": lambda: image_pool(*_parts("binarized_mnist.npz", 20_000, 12_000)),
    "CIFAR animals": lambda: image_pool(*_parts("cifar_animals.zip", 10_000, 7_400)),
}


def run(*, quick: bool = False) -> Report:
    """Count flags on tables and images."""
    draws = 50 if quick else 500
    checks, details = [], {}
    for name in ["synthetic mixed table"] if quick else POOLS:
        pool = POOLS[name]()
        for kind in ("honest", "exact", "noisy"):
            share = pool.flagged(kind, n=N, draws=draws)
            error = math.sqrt(max(share * (1 - share), 1 / draws) / draws)
            words = {"honest": "no copies", "exact": "1 % exact copies", "noisy": f"1 % copies with noise {NOISE}"}[
                kind
            ]
            bar, met = (
                ("at most 5 % accused", share <= 0.05) if kind == "honest" else ("at least 95 % found", share >= 0.95)
            )
            reached = f"{100 * share:.1f} ± {100 * error:.1f} %"
            checks.append(Check(f"{name}: {words}", bar, reached, met))
        typical = {k: np.quantile(getattr(pool, k).ratio, (0.01, 0.5)).round(3).tolist() for k in ("honest", "noisy")}
        details[name] = {"ratio of distances, 1 % and median": typical}
    notes = [
        f"{N} generated records against {N} held-out ones, {draws} draws; binomial standard errors.",
        "adult, noisy: with 0.3 standard deviations in each of its six numbers a row is as far from its origin as from strangers "
        "(among 20,000 rows the nearest other one is nearer than that), so no distance can tell such a copy from a new row.",
    ]
    return Report("Planted copies", checks, notes, [0, 1], details)
