r"""Do 95 % intervals hold the truth? Headline metrics over a thousand simulated pairs of samples each.

A pair is a sample of real records and one of a model whose law is fixed: equal to that of the data, or not. The estimand is the
metric's expected value at this n, taken as the mean over all pairs; its own error, one thirtieth of the scatter of a single
value, moves a coverage of 95 % by less than 0.1 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from genlearn.data.records import Dataset, Records
from genlearn.metrics import Result, nats, paired_difference
from genlearn.metrics.auc import two_sample_auc
from genlearn.metrics.coverage import coverage
from genlearn.metrics.features import spaces
from genlearn.metrics.frechet import frechet
from genlearn.metrics.groups import group_shares
from genlearn.metrics.intervals import mean_of
from genlearn.metrics.kid import kid
from genlearn.metrics.useful import useful_classes, useful_features, useful_number

from ..checks import Check, Report
from .copies import mixed
from .parallel import draws, workers

LOW, HIGH = 0.93, 0.995
PAIRS = 1000
FRESH = 10_000  # number of the first pair of a full run: earlier ones were looked at while the intervals were made
Draw = Callable[[np.random.Generator], Result]


@dataclass(frozen=True)
class Case:
    """A metric on pairs of samples: `draw` makes one pair and measures it."""

    name: str
    draw: Draw


def one(name: str, pair: int) -> Result:
    """Return the result of one pair of a case; the same pair always gives the same numbers."""
    return CASES[name].draw(np.random.default_rng((pair, 0xC0)))


def fresh(name: str, pair: int) -> Result:
    """Return the result of a pair that nobody looked at before."""
    return one(name, FRESH + pair)


def covered(results: list[Result]) -> float:
    """Return the share of intervals that hold the mean of all values."""
    truth = float(np.mean([r.value for r in results if r.value is not None]))
    return float(np.mean([r.low is not None and r.high is not None and r.low <= truth <= r.high for r in results]))


# -- pairs of samples ----------------------------------------------------------------------------------------------------
def normals(
    rng: np.random.Generator, n: int, d: int, *, shift: float = 0.0, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return `(n, d)` standard normal records and `(n, d)` of a model with another mean in one column, or another scale."""
    real, fake = rng.normal(size=(2, n, d))
    fake *= scale
    fake[:, 0] += shift
    return real, fake


def labelled(rng: np.random.Generator, n: int, d: int, tilt: float, *, number: bool = False) -> list[np.ndarray]:
    """Return model and real records with a target that depends on two columns, in the model also on a third one."""
    out = []
    for weight in (tilt, 0.0):
        x = rng.normal(size=(n, d))
        y = x[:, 0] + x[:, 1] + weight * x[:, 2] + rng.normal(size=n)
        out += [x, y if number else (y > 0).astype(int)]
    return out


def leaves(n: int, shift: float) -> Draw:
    """Return pairs in the product's space B of a table: leaves of boosted trees, learned once."""

    def table(records: Records) -> Records:
        return Records("table", records.x, "c0")

    train, valid = table(mixed(2000, 1)), table(mixed(200, 2))
    space = spaces(Dataset("mixed", train, valid, valid))["B"]

    def draw(rng: np.random.Generator) -> Result:
        real, fake = (table(mixed(n, int(rng.integers(2**31)))) for _ in range(2))
        fake.x["x0"] += shift
        return kid(space(real), space(fake))

    return draw


def both_spaces(rng: np.random.Generator, n: int, shift: float) -> Result:
    """Return the mean AUC of two views of the same records, as the headline is."""
    real, fake = normals(rng, n, 16, shift=shift)
    return mean_of([two_sample_auc(real, fake), two_sample_auc(np.tanh(real), np.tanh(fake))], low=0.0, high=1.0)


def paired(rng: np.random.Generator, n: int, d: int, shifts: tuple[float, float], *, trees: bool = False) -> Result:
    """Return the difference that a verdict decides by: two models against the same real records."""
    real, a, b = rng.normal(size=(3, n, d))
    found = []
    for fake, shift in zip((a, b), shifts, strict=True):
        fake[:, 0] += shift
        found.append(two_sample_auc(real, fake, classifier="trees" if trees else "linear"))
    return paired_difference(found[:1], found[1:])


def _tables() -> Iterator[Case]:
    for shift in (0.0, 1.0):
        yield Case(
            f"AUC, trees, 4 columns, n = 300, shift {shift}",
            lambda rng, s=shift: two_sample_auc(*normals(rng, 300, 4, shift=s), classifier="trees"),
        )
    yield Case("AUC difference of two models, trees, n = 200", lambda rng: paired(rng, 200, 4, (0.2, 0.6), trees=True))
    names = ["no", "yes"]
    for tilt in (0.0, 1.0):
        yield Case(
            f"useful, classes by trees, n = 300, model tilted {tilt}",
            lambda rng, t=tilt: useful_classes(*labelled(rng, 300, 4, t), names=names),
        )
        yield Case(
            f"useful, numbers by trees, n = 300, model tilted {tilt}",
            lambda rng, t=tilt: useful_number(*labelled(rng, 300, 4, t, number=True)),
        )


def _features() -> Iterator[Case]:
    for d, shift in ((16, 0.0), (16, 0.4), (64, 0.0), (16, 3.0)):
        yield Case(
            f"AUC, logistic, {d} features, n = 500, shift {shift}",
            lambda rng, d=d, s=shift: two_sample_auc(*normals(rng, 500, d, shift=s)),
        )
    for shift in (0.0, 0.4):
        yield Case(f"AUC, mean of two spaces, n = 300, shift {shift}", lambda rng, s=shift: both_spaces(rng, 300, s))
    for shifts in ((0.0, 0.0), (0.2, 0.5)):
        yield Case(
            f"AUC difference of two models, logistic, n = 300, shifts {shifts[0]} and {shifts[1]}",
            lambda rng, s=shifts: paired(rng, 300, 16, s),
        )
    for d, shift, scale in ((2, 0.0, 1.0), (64, 0.0, 1.0), (16, 0.3, 1.0), (16, 0.0, 0.8)):
        yield Case(
            f"KID, {d} features, n = 300, shift {shift}, scale {scale}",
            lambda rng, d=d, s=shift, k=scale: kid(*normals(rng, 300, d, shift=s, scale=k)),
        )
    for shift in (0.0, 1.0):
        yield Case(f"KID, leaves of trees, n = 300, shift {shift}", leaves(300, shift))
    for d, shift, scale in ((4, 0.0, 1.0), (16, 0.0, 1.0), (4, 1.0, 1.0), (4, 0.0, 0.5), (16, 0.0, 1.3)):
        yield Case(
            f"coverage, {d} features, n = 300, shift {shift}, scale {scale}",
            lambda rng, d=d, s=shift, k=scale: coverage(*normals(rng, 300, d, shift=s, scale=k)),
        )
    for d, shift, scale in ((4, 0.0, 1.0), (64, 0.0, 1.0), (16, 1.0, 1.0), (4, 0.0, 0.5)):
        yield Case(
            f"group shares, {d} features, n = 500, shift {shift}, scale {scale}",
            lambda rng, d=d, s=shift, k=scale: group_shares(*normals(rng, 500, d, shift=s, scale=k)),
        )
    names = ["no", "yes"]
    for tilt in (0.0, 1.0):
        yield Case(
            f"useful, classes by logistic regression, n = 300, model tilted {tilt}",
            lambda rng, t=tilt: useful_features(*labelled(rng, 300, 8, t), names=names),
        )
    yield Case("nats, normal records, n = 300", lambda rng: nats(-0.5 * (rng.normal(size=(300, 8)) ** 2).sum(1)))
    yield Case(
        "nats, Student-t records (5 degrees), n = 300",
        lambda rng: nats(-0.5 * (rng.standard_t(5, (300, 8)) ** 2).sum(1)),
    )


CASES = {case.name: case for case in (*_features(), *_tables())}


# -- the naive bootstrap ---------------------------------------------------------------------------------------------------
def bootstrapped(
    measure: Callable[[np.ndarray, np.ndarray], float], rng: np.random.Generator, *, n: int, d: int
) -> Result:
    """Return a metric of two equal laws with the interval of 100 resamples with replacement: 2.5 to 97.5 %."""
    real, fake = normals(rng, n, d)
    values = [measure(real[rng.integers(n, size=n)], fake[rng.integers(n, size=n)]) for _ in range(100)]
    low, high = np.quantile(values, (0.025, 0.975))
    return Result(measure(real, fake), float(low), float(high), n)


def _value(metric: Callable[[np.ndarray, np.ndarray], Result]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda real, fake: float(metric(real, fake).value or 0.0)


NAIVE = {name: _value(metric) for name, metric in (("KID", kid), ("coverage", coverage), ("Frechet distance", frechet))}


def run(*, quick: bool = False) -> Report:
    """Count how often intervals hold the expected value, and how often the naive bootstrap's do."""
    pairs = 30 if quick else PAIRS
    checks, details = [], {}
    names = [name for name in CASES if not (quick and "trees" in name)]
    with workers() as pool:
        found = {name: draws(pool, partial(fresh, name), pairs) for name in names}
    for name, results in found.items():
        share = covered(results)
        error = math.sqrt(max(share * (1 - share), 1 / pairs) / pairs)
        values = [r.value for r in results if r.value is not None]
        half = float(np.mean([(r.high - r.low) / 2 for r in results if r.high is not None and r.low is not None]))
        details[name] = {"expected": float(np.mean(values)), "sd": float(np.std(values)), "half width": half}
        reached = (
            f"{100 * share:.1f} ± {100 * error:.1f} %; expected value {np.mean(values):.3f}, half width {half:.3f}"
        )
        slack = 3 * error if quick else 0.0
        checks.append(Check(name, "93 to 99.5 %", reached, LOW - slack <= share <= HIGH + slack))
    for name, measure in NAIVE.items():
        n = 5 if quick else 200
        share = covered([bootstrapped(measure, np.random.default_rng(pair), n=100, d=16) for pair in range(n)])
        checks.append(
            Check(
                f"naive bootstrap of {name}, equal laws, n = 100",
                "shown to fail: below 93 %",
                f"{100 * share:.1f} %",
                share < LOW,
            )
        )
    notes = [
        f"{pairs} pairs; binomial standard errors. The naive bootstrap, 100 resamples with replacement, over 200 pairs."
    ]
    return Report("95 % intervals of the headline metrics", checks, notes, [FRESH], details)
