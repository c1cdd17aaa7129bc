"""Types of columns that a person told: whether the cells are what they are said to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import Problem
from .columns import ColumnInfo, date_format, hashable, is_date, is_number


def check_told(frame: pd.DataFrame, types: Mapping[str, str], where: str) -> None:
    """Raise `Problem` for the first cell that is not of the type that its column was said to have.

    Example:
        >>> check_told(pd.DataFrame({"age": [31.0, 45.5]}), {"age": "integer"}, "people.csv")
        Traceback (most recent call last):
        genlearn.errors.Problem: people.csv, column "age", row 2: "45.5" is no whole number. Use age=real.
    """
    for name, kind in types.items():
        if name not in frame:
            continue  # inference names unknown columns
        cells = hashable(frame[name])
        present = cells.dropna()
        if kind in ("real", "integer") and not pd.api.types.is_timedelta64_dtype(cells):
            numbers = _numbers(cells)
            bad = cells.notna().to_numpy() & ~np.isfinite(numbers)
            _refuse(bad, cells, name, where, "is no number", "category")
            if kind == "integer":
                _refuse(np.isfinite(numbers) & (numbers % 1 != 0), cells, name, where, "is no whole number", "real")
        elif kind == "date" and len(present) and not is_date(present) and date_format(present) is None:
            mixed = f'{where}, column "{name}": no usual date format reads all cells (first: "{present.iloc[0]}")'
            raise Problem(f"{mixed}. Write dates as 2020-01-31, or use {name}=category.")
        elif kind == "constant" and (distinct := int(present.nunique())) > 1:
            raise Problem(f'{where}, column "{name}" has {distinct:,} values, a constant has one. Use {name}=category.')


def check_left(columns: Mapping[Any, ColumnInfo], where: str) -> None:
    """Raise `Problem` if no column is left to learn."""
    if not columns:
        raise Problem(f"{where} holds no columns. Give a table with at least one.")
    if all(c.type in ("id", "text") for c in columns.values()):
        names = [str(c.name) for c in columns.values()]
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise Problem(
            f"{where} leaves nothing to learn: {shown} hold identifiers or free text. "
            f"Set --types {names[0]}=category to learn a column nevertheless."
        )


def _numbers(cells: pd.Series) -> np.ndarray:
    """Return the cells as `(n,)` float64, NaN where they are no numbers."""
    plain = cells if is_number(cells) else pd.to_numeric(cells.astype(object), errors="coerce")
    return plain.to_numpy(dtype=np.float64, na_value=np.nan)


def _refuse(bad: np.ndarray, cells: pd.Series, name: str, where: str, why: str, better: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise Problem(f'{where}, column "{name}", row {row + 1}: "{cells.iloc[row]}" {why}. Use {name}={better}.')
