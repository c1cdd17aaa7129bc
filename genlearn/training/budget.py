"""Time budgets: durations as people write them, and how many steps fit into one."""

from __future__ import annotations

import contextlib
import math
import re
import statistics
import time
from collections.abc import Callable

from .. import ranks
from ..errors import Problem

PROBE_STEPS = 20
FEWEST_STEPS = 20
_WARM_UP = 3


def seconds_of(budget: str | float) -> float:
    """Return a duration in seconds: a number, or text such as "90s", "5m", "1h30m".

    Errors:
        Problem: If the text is no duration.

    Example:
        >>> seconds_of("5m"), seconds_of("1h30m"), seconds_of(20)
        (300.0, 5400.0, 20.0)
    """
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    text = str(budget).strip().lower()
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)) and value > 0:
            return value
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(a + b for a, b in parts) != text or not sum(float(a) for a, _ in parts):
        raise Problem(f'budget "{budget}" is no duration. Write 90s, 5m or 1h30m.')
    return sum(float(a) * units[b] for a, b in parts)


def seconds_each(act: Callable[[], object], most: float, times: int = PROBE_STEPS) -> float:
    """Return the median seconds of an act, measured at least twice and for about `most` seconds at the utmost.

    The first three times warm caches up and do not count. The median is what a busy neighbour spoils least.
    """
    taken: list[float] = []
    end = time.monotonic() + most
    while len(taken) < _WARM_UP + times and (len(taken) < 2 or not ranks.any_of(time.monotonic() >= end)[0]):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[_WARM_UP:] or taken[-1:])


def steps_within(seconds: float, each: float, besides: float = 0.0) -> int:
    """Return how many steps of `each` seconds fit into a budget beside `besides` seconds of other work; at least 20.

    Example:
        >>> steps_within(60, each=0.05, besides=10), steps_within(0.01, each=0.05)
        (1000, 20)
    """
    return max(FEWEST_STEPS, int((seconds - besides) / each))
