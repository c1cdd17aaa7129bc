"""Cells of a table that was read as text: missing markers, numbers in words' clothing, infinite values."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .delimited import MISSING

if TYPE_CHECKING:
    import pandas as pd

_PLAIN = re.compile(r"[+-]?((0|[1-9]\d{0,17})|\d*\.\d+|\d+\.\d*|\d+(\.\d*)?[eE][+-]?\d+|\d*\.\d+[eE][+-]?\d+)")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3}){1,5}(\.\d+)?")


def clean_cells(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Turn text columns that hold numbers into numbers, and markers such as `?` into missing cells.

    Arguments:
        frame: Columns as a parser left them: numbers, booleans, or text.

    Example:
        >>> import pandas as pd
        >>> frame, notes = clean_cells(pd.DataFrame({"age": ["30", "?"], "name": [" Ann", "Bo "]}))
        >>> frame.age.dtype, list(frame.name), notes
        (Int64Dtype(), ['Ann', 'Bo'], ['missing cells: age 1 (?).'])
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    missing: list[str] = []
    notes: list[str] = []
    for name in frame.columns:
        column = frame[name]
        markers: Counter[str] = Counter()
        if pd.api.types.is_float_dtype(column.dtype) and np.isinf(column.to_numpy("float64", na_value=np.nan)).any():
            infinite = np.isinf(column.to_numpy("float64", na_value=np.nan))
            column = column.mask(infinite)
            markers["infinite"] = int(infinite.sum())
        elif pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype):
            column, markers, note = _clean_text(column)
            notes += [f"{name}: {note}."] if note else []
        columns[name] = column
        if empty := int(column.isna().sum()):
            words = ", ".join(m for m, _ in markers.most_common(3) if m) or "empty"
            missing.append(f"{name} {empty:,} ({words})")
    if missing:
        rest = f" and {len(missing) - 8} more columns" if len(missing) > 8 else ""
        notes.append(f"missing cells: {', '.join(missing[:8])}{rest}.")
    return pd.DataFrame(columns, index=frame.index), notes


def _clean_text(column: pd.Series) -> tuple[pd.Series, Counter[str], str]:
    """Return the cleaned column, how often each missing marker occurred, and a note (empty if there is nothing to say)."""
    import pandas as pd

    codes, values = pd.factorize(column)
    if len(values) and all(isinstance(v, bool | np.bool_) for v in values):
        return column.astype("boolean"), Counter(), ""
    if any(not isinstance(v, str | int | float | bool | np.generic) for v in values):
        return column, Counter(), ""  # dates, decimals: objects that a parser made on purpose
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    words = [str(v).strip() for v in values]
    markers: Counter[str] = Counter()
    for word, count in zip(words, counts, strict=True):
        if word in MISSING:
            markers[word] += int(count)
    present = [w for w in words if w not in MISSING]
    note = ""
    # Whole numbers beyond 18 digits (card numbers, hashes) fit neither int64 nor float64 and stay text.
    if present and all(_PLAIN.fullmatch(w) or _THOUSANDS.fullmatch(w) for w in present):
        if any("," in w for w in present):
            words = [w.replace(",", "") for w in words]
            note = "commas are read as thousands separators"
        if not any(re.search(r"[.eE]", w) for w in present):
            whole = np.array([0 if w in MISSING else int(w) for w in words] + [0], dtype=np.int64)
            empty = np.array([w in MISSING for w in words] + [True])[codes]
            result = pd.Series(whole[codes], index=column.index)
            return (result.astype("Int64").mask(empty) if empty.any() else result), markers, note
        numbers = np.array([np.nan if w in MISSING else float(w) for w in words] + [np.nan])
        return pd.Series(numbers[codes], index=column.index), markers, note
    cleaned = np.array([None if w in MISSING else w for w in words] + [None], dtype=object)
    return pd.Series(cleaned[codes].tolist(), index=column.index), markers, note
