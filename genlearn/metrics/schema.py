"""How metrics read a table: which columns are numbers and which are levels, learned from the training records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from ..data.columns import date_format, hashable, infer_columns
from ..data.records import Records
from ..errors import Problem

LEVELS = ("category", "boolean", "constant")
MOST_LEVELS = 250
FEW_LABELS = 20


@dataclass(frozen=True)
class Schema:
    """The columns of a table as metrics see them. Identifiers and free text are left out: models do not generate them.

    Arguments:
        numbers: Names of number and date columns, each with its date format or None.
        levels: Category columns (booleans and constants too), each with its training levels as text, most frequent first.
        target: The label, if the table has one.
        train: The training table, for ranges and scales.
    """

    numbers: dict[str, str | None]
    levels: dict[str, tuple[str, ...]]
    target: str | None
    train: pd.DataFrame

    @classmethod
    def of(cls, train: Records) -> Self:
        """Learn the schema from training records. A whole-number target with up to 20 values is a label."""
        numbers: dict[str, str | None] = {}
        levels: dict[str, tuple[str, ...]] = {}
        for name, column in infer_columns(train.x, train.options.get("types"), train.target).items():
            label = name == train.target and column.type == "integer" and column.n_distinct <= FEW_LABELS
            if column.type in LEVELS or label:
                counts = hashable(train.x[name]).value_counts()
                levels[name] = tuple(dict.fromkeys(map(as_word, counts[counts > 0].index)))
            elif column.type in ("real", "integer", "date"):
                numbers[name] = date_format(train.x[name]) if column.type == "date" else None
        return cls(numbers, levels, train.target, train.x)

    @property
    def columns(self) -> tuple[str, ...]:
        """All judged columns, in the table's order."""
        return tuple(c for c in self.train.columns if c in self.levels or c in self.numbers)

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The judged columns that vary in training."""
        return tuple(c for c in self.columns if c in self.numbers or len(self.levels[c]) + self.has_missing[c] > 1)

    @cached_property
    def has_missing(self) -> dict[str, bool]:
        """Which columns have missing cells in training."""
        return {c: bool(self.train[c].isna().any()) for c in self.columns}

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest training value of every number column."""
        out = {}
        for name in self.numbers:
            x = self.number(self.train, name)
            out[name] = (float(np.nanmin(x)), float(np.nanmax(x))) if np.isfinite(x).any() else (np.nan, np.nan)
        return out

    def column(self, frame: pd.DataFrame, name: str) -> pd.Series:
        """Return a column; raise `Problem` if the table lacks it."""
        if name not in frame:
            raise Problem(f'the generated table lacks the column "{name}". Sample it from a model of the same table.')
        return frame[name]

    def number(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        """Return a number column as `(n,)` float64, NaN where there is no finite value; dates in seconds."""
        x = as_number(self.column(frame, name), self.numbers[name])
        return np.where(np.isfinite(x), x, np.nan)

    def level(self, frame: pd.DataFrame, name: str) -> np.ndarray:
        """Return a category column as `(n,)` level numbers: missing is `len(levels)`, unseen in training one more."""
        known = {level: k for k, level in enumerate(self.levels[name])}
        codes, values = pd.factorize(hashable(self.column(frame, name)))
        place = np.array([*(known.get(as_word(v), len(known) + 1) for v in values), len(known)], dtype=np.int64)
        return place[codes]

    def matrix(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return `(n, d)` float64 for trees (NaN = missing number, level numbers for categories) and which are categories.

        Trees take up to 255 levels: those after the 250 most frequent are one.
        """
        names = self.varying
        categorical = np.array([name in self.levels for name in names])
        parts = [
            np.minimum(self.level(frame, name), MOST_LEVELS).astype(float) if is_level else self.number(frame, name)
            for name, is_level in zip(names, categorical, strict=True)
        ]
        return np.stack(parts, 1) if parts else np.zeros((len(frame), 1)), categorical


def as_word(value: Any) -> str:
    """Return a level as text; whole numbers read alike whether stored as int, float or object.

    Example:
        >>> as_word(3.0), as_word(3), as_word(True)
        ('3', '3', 'True')
    """
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def as_number(column: pd.Series, date: str | None = None) -> np.ndarray:
    """Return the cells as float64, NaN where missing; dates as seconds since 1970, durations in seconds.

    Example:
        >>> as_number(pd.Series(["1970-01-01", "1970-01-02"]), "%Y-%m-%d").tolist()
        [0.0, 86400.0]
    """
    if column.dtype.kind == "m":
        return column.dt.total_seconds().to_numpy(dtype=np.float64)
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if date is None and column.dtype.kind != "M":
        numbers = pd.to_numeric(column, errors="coerce")
        if (numbers.notna() | column.isna()).all():
            return numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    dates = pd.to_datetime(column, format=date, errors="coerce", utc=True)
    return (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(dtype=np.float64)
