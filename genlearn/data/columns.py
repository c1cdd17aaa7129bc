"""What the columns of a table are, as a person would read them: numbers, counts, categories, dates, identifiers, free text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from ..errors import Problem, did_you_mean

if TYPE_CHECKING:
    from .digest import Column

ColumnType = Literal["real", "integer", "category", "boolean", "date", "id", "text", "constant"]

FEW_LEVELS = 20
MANY_LEVELS = 1000
EXACT = 2.0**53  # whole numbers beyond it are not exact in float64
DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.%fZ",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
)
_LOOKS_LIKE_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?$")
_NAMED_ID = re.compile(r"(?:^|[^a-z])(?:id|uid|uuid|guid|key)$", re.I)
_NAMED_ID_CAMEL = re.compile(r"[a-z](?:Id|ID|Key|Uuid|UUID)$")
_NAMED_COUNTER = re.compile(r"id$|(?:^|[^a-z])(?:index|idx|nr|no|num|number|row|rownum|serial|unnamed: \d+)$", re.I)
_ONE_WORD = re.compile(r"\S{1,64}$")


@dataclass(frozen=True)
class ColumnInfo:
    """What one column is.

    Arguments:
        name: The column's name.
        type: `real`, `integer`, `category`, `boolean`, `date`, `id`, `text` or `constant`; ids and texts are not modelled.
        n_missing: How many cells are empty.
        n_distinct: How many different values occur, missing ones not counted.
        note: Why, where a person may want to know; else empty.
    """

    name: Any
    type: ColumnType
    n_missing: int
    n_distinct: int
    note: str = ""


def infer_columns(
    frame: pd.DataFrame | Mapping[Any, Column], types: Mapping[Any, str] | None = None, target: Any = None
) -> dict[Any, ColumnInfo]:
    """Tell what each column of a table is.

    Numbers that are all whole are `integer`; strings are `category` if few or repeated, else `id` (one word each, no repeats)
    or `text`; strings in a usual date format are `date`. A whole-number column without repeats is an `id` only if its name
    says so. The target is never an id or text.

    Arguments:
        frame: The table, one row per record, or its digest (`data/digest.py`).
        types: Column -> type, for columns that are known better.
        target: The label's column.

    Errors:
        Problem: If `types` names an unknown column or type.

    Example:
        >>> frame = pd.DataFrame({"age": [31, 45, 31], "city": ["Bern", "Genf", "Bern"], "since": ["2020-01-31"] * 3})
        >>> {name: info.type for name, info in infer_columns(frame, {"age": "real"}).items()}
        {'age': 'real', 'city': 'category', 'since': 'constant'}
    """
    from .digest import digest

    columns = digest(frame) if isinstance(frame, pd.DataFrame) else frame
    types = dict(types or {})
    names = [str(c) for c in columns]
    for column, kind in types.items():
        if column not in columns:
            raise Problem(
                f'types names the column "{column}", which the table does not have.{did_you_mean(str(column), names)} '
                f"Columns: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}."
            )
        if kind not in get_args(ColumnType):
            known = ", ".join(get_args(ColumnType))
            raise Problem(
                f'"{kind}" (column "{column}") is no column type.{did_you_mean(str(kind), get_args(ColumnType))} Known: {known}.'
            )
    return {c: _infer(c, known, types.get(c), is_target=c == target) for c, known in columns.items()}


def _infer(name: Any, column: Column, given: str | None, *, is_target: bool) -> ColumnInfo:
    present = hashable(column.cells).dropna()
    missing, distinct = column.missing, column.distinct
    kind: str
    if given is not None:
        kind, note = given, "as told"
    elif distinct <= 1 and (missing == 0 or distinct == 0):
        kind, note = "constant", "" if distinct else "no cell has a value"
    else:
        kind, note = _guess(str(name).rstrip(" .:#"), present, column.present, distinct)
        if is_target and kind in ("id", "text"):
            kind, note = ("category", "the target") if not is_number(present) else ("integer", "the target")
    return ColumnInfo(name, kind, missing, distinct, note)  # type: ignore[arg-type]


def _guess(name: str, present: pd.Series, n: int, distinct: int) -> tuple[str, str]:
    """Return type and note of a column with at least two cells to tell apart (missing ones included).

    Arguments:
        name: The column's name.
        present: Cells with a value.
        n: How many cells of the table have one.
        distinct: How many different values they have.
    """
    if isinstance(present.dtype, pd.CategoricalDtype):
        return "category", ""
    content = pd.api.types.infer_dtype(present, skipna=True)
    if content == "boolean":
        return "boolean", ""
    if is_date(present):
        return "date", ""
    if is_number(present):
        return _guess_number(name, present, n, distinct)
    if content == "string":
        return _guess_string(name, present, n, distinct)
    return ("category", "") if distinct <= max(FEW_LEVELS, n // 20) else ("text", f"{distinct} {content} values")


def _guess_number(name: str, present: pd.Series, n: int, distinct: int) -> tuple[str, str]:
    if pd.api.types.is_timedelta64_dtype(present):
        return "real", "durations in seconds"
    values = pd.to_numeric(present).to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    if len(finite) < len(values) or (finite != np.floor(finite)).any() or (np.abs(finite) > EXACT).any():
        big = (
            len(finite)
            and (finite == np.floor(finite)).all()
            and (_NAMED_ID.search(name) or _NAMED_ID_CAMEL.search(name))
        )
        return ("id", "whole numbers without repeats") if big and distinct == n else ("real", "")
    if distinct == n > 2:
        named = _NAMED_ID.search(name) or _NAMED_ID_CAMEL.search(name)
        orderly = bool((np.diff(values) > 0).all()) or np.ptp(values) < 2 * n
        if named or (orderly and _NAMED_COUNTER.search(name)):
            return "id", "whole numbers without repeats"
    return "integer", ""


def _guess_string(name: str, present: pd.Series, n: int, distinct: int) -> tuple[str, str]:
    if (fmt := date_format(present)) is not None:
        return "date", f"format {fmt}"
    unique = distinct == n > 2
    if unique and (_NAMED_ID.search(name) or _NAMED_ID_CAMEL.search(name)):
        return "id", "texts without repeats"
    if distinct <= max(FEW_LEVELS, n // 20) or (distinct <= MANY_LEVELS and 2 * distinct <= n):
        return "category", ""
    if unique and all(_ONE_WORD.match(v) for v in present.iloc[:1000]):
        if bool(pd.to_numeric(present, errors="coerce").notna().all()):
            return "id", "texts without repeats that are numbers: convert them with pd.to_numeric to model them"
        return "id", "texts without repeats"
    return "text", f"{distinct} different texts in {n} rows"


def hashable(series: pd.Series) -> pd.Series:
    """Return the column with cells that cannot be compared (lists, dicts) or stored (intervals, periods) as their text."""
    if isinstance(series.dtype, pd.PeriodDtype | pd.IntervalDtype):
        return series.astype(str).where(series.notna(), None)
    if series.dtype == object:
        odd = series.map(lambda v: isinstance(v, list | dict | set | tuple | np.ndarray))
        if odd.any():
            return series.where(~odd, series.astype(str))
    return series


def is_number(series: pd.Series) -> bool:
    """Tell whether the cells are numbers (or durations), whatever the dtype; booleans and categories are not."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return False
    if pd.api.types.is_numeric_dtype(series) or pd.api.types.is_timedelta64_dtype(series):
        return not pd.api.types.is_bool_dtype(series) and not pd.api.types.is_complex_dtype(series)
    numeric = ("integer", "floating", "mixed-integer-float", "decimal")
    return series.dtype == object and pd.api.types.infer_dtype(series, skipna=True) in numeric


def is_date(series: pd.Series) -> bool:
    """Tell whether the cells are dates or times by their type; text that reads as dates is not."""
    kinds = ("datetime", "datetime64", "date")
    return not isinstance(series.dtype, pd.CategoricalDtype) and pd.api.types.infer_dtype(series, skipna=True) in kinds


def date_format(series: pd.Series) -> str | None:
    """Return the format that reads every string of a column as a date, or None.

    Where day and month could be either way round, the month comes first.

    Example:
        >>> date_format(pd.Series(["31.12.2023", "1.2.2024"]))
        '%d.%m.%Y'
    """
    values = pd.Series(series.dropna().unique())
    if not len(values) or not all(isinstance(v, str) and _LOOKS_LIKE_DATE.match(v) for v in values.iloc[:50]):
        return None
    for fmt in DATE_FORMATS:
        if pd.to_datetime(values, format=fmt, errors="coerce").notna().all():
            return fmt
    return None
