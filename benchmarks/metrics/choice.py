r"""Does a comparison choose the better model? A perfect one against one at a known distance, in 64 dimensions.

Real records and model `perfect` are \(N(0, I_{64})\). Model `wrong` has a squared Frechet distance of 0.64 to them: a mean shifted by
0.8 in one column, by 0.1 in each, or standard deviations of 0.9. Records are judged by the product's yardstick (trees, as for
tables, or logistic regression, as for features of images) and decided on by the product's verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from genlearn.data.records import Dataset, Records, as_records
from genlearn.metrics import Yardstick
from genlearn.metrics.features import Space
from genlearn.metrics.frechet import frechet
from genlearn.report.rows import Row, Trial
from genlearn.report.verdict import Verdict, judge

from ..checks import Check, Report
from .parallel import draws, workers

Classifier = Literal["linear", "trees"]
DIMENSIONS = 64
ONE = np.eye(DIMENSIONS)[0]
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean + 0.8 in one column": lambda x: x + 0.8 * ONE,
    "mean + 0.1 in each column": lambda x: x + 0.1,
    "standard deviations x 0.9": lambda x: 0.9 * x,
}
# (classifier, change, n, draws): trees take a second per hundred records here, so they get the change that hides from lines
CASES: tuple[tuple[Classifier, str, int, int], ...] = (
    *(("linear", change, n, count) for change in CHANGES for n, count in ((100, 400), (1000, 200))),
    ("trees", "standard deviations x 0.9", 100, 100),
    ("trees", "standard deviations x 0.9", 1000, 60),
)


def verdict(real: np.ndarray, fakes: dict[str, np.ndarray], *, classifier: Classifier) -> Verdict:
    """Return what a comparison says of models that drew these records; all of them cost the same and copy nothing.

    Arguments:
        real: `(n, d)` records to judge against.
        fakes: `(n, d)` generated records by name of the model.
        classifier: `trees` as for tables, `linear` as for features of images.
    """
    part = as_records(real)
    yardstick = Yardstick(Dataset("normal", part, part, part))  # nothing but scales is learned from train
    if classifier == "linear":
        space = _as_they_are()
        yardstick.spaces = {"A": space, "B": space}
    rows = []
    for name, fake in fakes.items():
        metrics = yardstick.judge(as_records(fake), full=False).metrics
        rows.append(Row(name, [Trial(name, metrics=metrics, copies={"flag": False}, cost={"seconds": 1.0})]))
    return judge(rows, [])


def _as_they_are() -> Space:
    def embed(records: Records) -> np.ndarray:
        return records.x.to_numpy(np.float32)

    return Space("A", "the records themselves", embed)


def outcome(seed: int, *, n: int, change: str, classifier: Classifier) -> tuple[str, bool]:
    """Return `right`, `wrong` or `no difference shown`, and whether the Frechet distance would choose wrongly."""
    real, perfect, other = np.random.default_rng(seed).normal(size=(3, n, DIMENSIONS))
    wrong = CHANGES[change](other)
    found = verdict(real, {"perfect": perfect, "wrong": wrong}, classifier=classifier)
    misled = (frechet(real, perfect).value or 0.0) > (frechet(real, wrong).value or 0.0)
    if "no difference" in found.headline:
        return "no difference shown", misled
    return ("right" if found.winner == "perfect" else "wrong"), misled


def run(*, quick: bool = False) -> Report:
    """Count verdicts at n = 100 and n = 1000."""
    checks, details = [], {}
    cases = [(*case, 10) for *case, _ in CASES if case[0] == "linear"] if quick else CASES
    with workers() as pool:
        drawn = [
            draws(pool, partial(outcome, n=n, change=change, classifier=classifier), count)
            for classifier, change, n, count in cases
        ]
    for (classifier, change, n, count), found in zip(cases, drawn, strict=True):
        counts = Counter(kind for kind, _ in found)
        misled = sum(m for _, m in found) / count
        share = counts["wrong"] / count
        error = math.sqrt(max(share * (1 - share), 1 / count) / count)
        details[f"{classifier}, {change}, n = {n}"] = {**counts, "draws": count, "frechet wrong": misled}
        reached = (
            f"perfect {counts['right']}, no difference {counts['no difference shown']}, wrong {counts['wrong']} of {count}"
            f" ({100 * share:.1f} ± {100 * error:.1f} %); Frechet distance alone is wrong in {100 * misled:.0f} %"
        )
        bar = "wrong in at most 5 %" if n < 1000 else "perfect or no difference in at least 95 %"
        checks.append(Check(f"{classifier}, {change}, n = {n}", bar, reached, share <= 0.05))
    notes = [
        "True squared Frechet distance 0 (perfect) against 0.64 (wrong). The percentage has its binomial standard error beside it.",
        "Logistic regression sees means only: to it a change of spread alone is no difference. Trees see it.",
    ]
    return Report("A planted better model is chosen", checks, notes, [0], details)
