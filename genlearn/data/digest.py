"""What must be known of a table's columns to choose how they are encoded, gathered in one pass over its rows.

What *may* occur is taken from all rows: range, missing cells, decimals, common step, and up to 65,536 different values. What is
*usual* (means, quantiles, frequent values) is taken from at most 65,536 rows, one drawn from each of as many equal stretches of the
table. A table of no more rows is its own digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .columns import EXACT, hashable, is_date, is_number
from .disk import blocks

# By the Dvoretzky-Kiefer-Wolfowitz inequality, so many rows keep all quantile ranks within 0.64 % in 99 of 100 draws.
DRAWN = 2**16
MOST_VALUES = 2**16  # different values of a column that are counted
DECIMALS = 10


@dataclass(frozen=True)
class Column:
    """What is known of one column.

    Arguments:
        cells: Cells in the order of the table: all, or of a long table those that were drawn and those that show what may occur.
        drawn: `(len(cells),)`, True for cells that were drawn: they are distributed as the column is.
        present: How many cells of the table have a value.
        missing: How many have none.
        distinct: How many different values occur; where there are too many to count, an estimate from the drawn cells that is
            `present` if none of them repeats.
    """

    cells: pd.Series
    drawn: np.ndarray
    present: int
    missing: int
    distinct: int

    @classmethod
    def of(cls, series: pd.Series) -> Column:
        """Return all of a column."""
        values = hashable(series).dropna()
        missing = len(series) - len(values)
        return cls(series, np.ones(len(series), dtype=bool), len(values), missing, int(values.nunique()))


def digest(frame: pd.DataFrame) -> dict[Any, Column]:
    """Return what is known of every column, in one pass over the rows.

    Example:
        >>> column = digest(pd.DataFrame({"a": np.arange(1_000_000) % 1000}))["a"]
        >>> column.present, column.distinct, int(column.cells.max()), int(column.drawn.sum())
        (1000000, 1000, 999, 65536)
    """
    n = len(frame)
    if n <= DRAWN:
        return {name: Column.of(frame[name]) for name in frame.columns}
    chosen = np.arange(DRAWN) * n // DRAWN + np.random.default_rng(0).integers(0, n // DRAWN, DRAWN)
    gathered = {name: _Gathered() for name in frame.columns}
    for rows in blocks(n, frame.shape[1]):
        block = frame.iloc[rows]
        first, last = np.searchsorted(chosen, (rows.start, rows.stop))
        block.index = pd.RangeIndex(rows.start, rows.stop)
        for name, column in gathered.items():
            column.add(block[name], chosen[first:last] - rows.start)
    return {name: gathered.pop(name).column(chosen) for name in frame.columns}


class _Gathered:
    """One column on the way: drawn cells, and cells that show what may occur, these with their rows as the index."""

    def __init__(self) -> None:
        self.drawn: list[pd.Series] = []
        self.shown: list[pd.Series] = []  # the first missing cell, ends, decimals, steps
        self.values: pd.Series | None = None  # the first cell of every value; empty lists once they are too many
        self.many = False
        self.present = self.missing = self.decimals = self.step = 0
        self.start: int | None = None

    def add(self, series: pd.Series, rows: np.ndarray) -> None:
        """Take note of a block of cells, of which `rows` were drawn."""
        self.drawn.append(series.iloc[rows].reset_index(drop=True))
        empty = series.isna()
        if empty.any() and not self.missing:
            self.shown.append(series[empty].iloc[:1])
        self.missing += int(empty.sum())
        present = hashable(series)[~empty]
        self.present += len(present)
        if len(present):
            self._count(present)
            self.shown += [series.loc[[row]] for row in self._ends(present)]

    def _count(self, present: pd.Series) -> None:
        if self.many:
            return
        fresh = present[~present.duplicated()]
        known = fresh if self.values is None else pd.concat([self.values, fresh[~fresh.isin(self.values)]])
        self.many = len(known) > MOST_VALUES
        self.values = known.iloc[:0] if self.many else known

    def _ends(self, present: pd.Series) -> Iterator[Any]:
        """Yield the rows of a block that widen what may occur: smallest and largest, more decimals, a finer step."""
        if isinstance(present.dtype, pd.CategoricalDtype | pd.BooleanDtype) or present.dtype == bool:
            return
        if is_number(present) or is_date(present):
            yield present.idxmin()
            yield present.idxmax()
        elif pd.api.types.infer_dtype(present, skipna=True) == "string":
            length = present.str.len()
            yield present.index[int(np.flatnonzero(length == length.max())[-1])]
        if is_number(present) and pd.api.types.is_numeric_dtype(present):
            yield from self._finer(present)

    def _finer(self, present: pd.Series) -> Iterator[Any]:
        present = present[np.isfinite(present.to_numpy(np.float64))]
        values = present.to_numpy(np.float64)
        largest, eps = np.abs(values).max(initial=0.0), _eps(present)
        while self.decimals <= DECIMALS and largest * 10.0**self.decimals * eps * 64 <= 1:
            if not len(bad := np.flatnonzero(~_written(values, self.decimals, eps))):
                break
            self.decimals += 1
            yield present.index[bad[0]]
        if self.decimals or not len(values) or largest > EXACT:
            return
        whole = values.astype(np.int64)
        if self.start is None:
            self.start = int(whole[0])
            yield present.index[0]
        while self.step != 1:
            off = np.flatnonzero((whole - self.start) % self.step if self.step else whole - self.start)
            if not len(off):
                return
            self.step = int(np.gcd(self.step, abs(int(whole[off[0]]) - self.start)))
            yield present.index[off[0]]

    def column(self, chosen: np.ndarray) -> Column:
        """Return what was found."""
        drawn = pd.concat(self.drawn)
        drawn.index = pd.Index(chosen)
        known = [] if self.values is None else [self.values]
        cells = pd.concat([drawn, *self.shown, *known])
        cells = cells[~cells.index.duplicated()].sort_index()
        distinct = 0 if self.values is None else len(self.values)
        if self.many:
            values = hashable(drawn).dropna()
            distinct = -(-int(values.nunique()) * self.present // max(1, len(values)))
        was_drawn = chosen[np.searchsorted(chosen, cells.index).clip(max=len(chosen) - 1)] == cells.index
        return Column(cells.reset_index(drop=True), was_drawn, self.present, self.missing, distinct)


def _eps(series: pd.Series) -> float:
    return 2.0**-23 if "float32" in str(series.dtype).lower() else 2.0**-52


def _written(values: np.ndarray, decimals: int, eps: float) -> np.ndarray:
    """Return which values so many decimals are enough for."""
    return np.abs(np.round(values, decimals) - values) <= 4 * eps * np.abs(values)


def decimals_of(numbers: np.ndarray, eps: float = 2.0**-52) -> int | None:
    """Return how many digits after the point all numbers get by with, or None if more than ten or more than float holds.

    Arguments:
        numbers: `(n,)`, NaN where missing.
        eps: Relative precision that the numbers came with.

    Example:
        >>> decimals_of(np.array([0.5, 12.25, np.nan])), decimals_of(np.array([0.1 + 0.2])), decimals_of(np.array([1 / 3]))
        (2, 1, None)
    """
    values = numbers[~np.isnan(numbers)]
    if not len(values):
        return None
    largest = np.abs(values).max()
    for decimals in range(DECIMALS + 1):
        if largest * 10.0**decimals * eps * 64 > 1:  # digits near the precision tell nothing
            return None
        if _written(values, decimals, eps).all():
            return decimals
    return None
