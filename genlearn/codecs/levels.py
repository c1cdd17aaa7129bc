"""Levels: the distinct values of a category and their numbers, shared by table columns and labels of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ..errors import Problem, did_you_mean

MISSING, UNSEEN = -1, -2
SHOWN = 8


@dataclass(frozen=True)
class Levels:
    """The values that a category takes, in order.

    Arguments:
        values: Strings, whole numbers, numbers or booleans; what JSON can hold.

    Example:
        >>> Levels(("no", "yes")).index(["yes", None, "maybe"]).tolist()
        [1, -1, -2]
    """

    values: tuple[Any, ...] = field(default=())

    @classmethod
    def of(cls, series: pd.Series) -> Levels:
        """Collect the values of a column: in a Categorical's own order, else sorted."""
        if isinstance(series.dtype, pd.CategoricalDtype):
            used = set(series.dropna().unique())
            return cls(tuple(plain(v) for v in series.dtype.categories if v in used))
        found = {plain(v) for v in pd.unique(series.dropna())}
        return cls(tuple(sorted(found, key=lambda v: (isinstance(v, str), v))))

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Printable names."""
        return tuple(str(v) for v in self.values)

    @cached_property
    def _place(self) -> dict[Any, int]:
        # A value may come back from a file or the command line as text, so names find their level as well.
        return {**{label: i for i, label in enumerate(self.labels)}, **{v: i for i, v in enumerate(self.values)}}

    def index(self, values: Sequence[Any] | pd.Series | np.ndarray) -> np.ndarray:
        """Return `(n,)` int64 level numbers: -1 for missing cells, -2 for values that are no level."""
        series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values, dtype=object), dtype=object)
        places, distinct = pd.factorize(series)
        numbers = [self._place.get(plain(v), self._place.get(str(plain(v)), UNSEEN)) for v in distinct]
        return np.array([*numbers, MISSING], dtype=np.int64)[places]

    def one(self, name: str, value: Any) -> int:
        """Return the level of one value; raise `Problem` that lists the levels."""
        level = int(self.index([value])[0])
        if level >= 0:
            return level
        shown = ", ".join(self.labels[:SHOWN]) + (f", ... ({len(self)} in all)" if len(self) > SHOWN else "")
        raise Problem(f'"{name}" has no value "{value}".{did_you_mean(str(value), self.labels)} Values: {shown}.')


def plain(value: Any) -> Any:
    """Return a value in JSON's terms: numpy scalars as Python's, anything else than text, numbers and booleans as text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
