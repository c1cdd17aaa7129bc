"""Does anything tell generated from real records? The rule by which a judgement says "not like real".

| metric | a perfect model's value | evidence |
|---|---|---|
| two-sample AUC | 0.5 | the interval lies above |
| KID in space A or B | 0 | the interval lies above |
| coverage | its null, about 0.97 | the interval lies below |
| variance ratio | 1 | the interval does not hold it |
| group shares | 0 | the interval lies above |

Intervals are those of the results, 95 %, drawn out by 1.3: six chances to err stay below 10 % together, and each has the power to
find what the others miss: classes that are left out, means that moved, records that vary too little.
"""

from __future__ import annotations

from collections.abc import Mapping

from .base import Result
from .coverage import LARGEST, coverage_null

DRAWN_OUT = 1.3
SIGNS = ("auc", "kid_a", "kid_b", "coverage", "variance", "groups")


def differences(metrics: Mapping[str, Result]) -> tuple[str, ...]:
    """Return the names of the metrics that tell the records from real ones; none may also mean: too few records.

    Example:
        >>> differences({"auc": Result(0.7, 0.6, 0.8, 100), "kid_a": Result(0.1, -0.1, 0.3, 100)})
        ('auc',)
    """
    return tuple(name for name in SIGNS if _tells(name, metrics.get(name)))


def _tells(name: str, result: Result | None) -> bool:
    if result is None or result.value is None or result.low is None or result.high is None:
        return False
    low = result.value + DRAWN_OUT * (result.low - result.value)
    high = result.value + DRAWN_OUT * (result.high - result.value)
    if name == "coverage":
        size = result.n / -(-result.n // LARGEST)
        return high < coverage_null(round(size), round(size))
    if name == "variance":
        return not low <= 1.0 <= high
    return low > (0.5 if name == "auc" else 0.0)
