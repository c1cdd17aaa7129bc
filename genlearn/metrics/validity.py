"""Could every generated row be a real one, cell by cell?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .base import Result
from .schema import Schema


def validity(schema: Schema, fake: pd.DataFrame) -> Result:
    """Return the share of generated rows whose every cell lies in the range or among the levels seen in training.

    A missing cell is valid where training has missing cells in that column.

    Arguments:
        schema: The table's columns, with the training ranges and levels.
        fake: Generated rows.
    """
    n = len(fake)
    if n == 0 or not schema.columns:
        return Result.unavailable("no rows to judge", n)
    valid = np.ones(n, dtype=bool)
    wrong = {}
    for name in schema.columns:
        if name in schema.numbers:
            x = schema.number(fake, name)
            low, high = schema.ranges[name]
            absent, fits = np.isnan(x), (x >= low) & (x <= high)
        else:
            level = schema.level(fake, name)
            known = len(schema.levels[name])
            absent, fits = level == known, level < known
        fits |= absent & schema.has_missing[name]
        wrong[name] = int((~fits).sum())
        valid &= fits
    worst = max(wrong, key=lambda name: wrong[name])
    note = f"most often outside: {worst} ({wrong[worst]} of {n})" if wrong[worst] else ""
    return Result(float(valid.mean()), n=n, note=note)
