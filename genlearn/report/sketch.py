"""Distributions of table columns in a few numbers: enough to draw them, too little to give records away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.records import Dataset, Records

BINS, LEVELS, COLUMNS = 24, 8, 60


def sketch(data: Dataset, records: Records) -> dict[str, dict[str, Any]]:
    """Return the distribution of each column in bins that depend on the test part only, so that rows can be overlaid.

    A number column has `edges` and `share` (at most 24 bins from the 0.5 % to the 99.5 % quantile, the outer bins take what
    lies beyond), any other column `levels` and `share` (the eight most frequent, then the rest). `missing` is the share of empty cells,
    `share` refers to the others. The first 60 columns are kept.
    """
    names = [name for name in list(data.test.x.columns)[:COLUMNS] if name in records.x]
    return {str(name): _column(data.test.x[name], records.x[name]) for name in names}


def _column(real: Any, values: Any) -> dict[str, Any]:
    import pandas as pd

    missing = {"missing": float(values.isna().mean()) if len(values) else 0.0}
    real, values = real.dropna(), values.dropna()
    if real.nunique() > LEVELS and pd.api.types.is_datetime64_any_dtype(real):
        return {**_numbers(_seconds(real), _seconds(values)), **missing, "dates": True}
    if real.nunique() > LEVELS and pd.api.types.is_numeric_dtype(real) and not pd.api.types.is_bool_dtype(real):
        return {**_numbers(real.to_numpy(float), values.to_numpy(float)), **missing}
    return {**_levels(real, values), **missing}


def _numbers(real: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    low, high = (float(q) for q in np.quantile(real, [0.005, 0.995]))
    if (real == np.round(real)).all():  # whole numbers: bins of equal whole width, or teeth appear that are not there
        low = np.floor(low) - 0.5
        step = max(1.0, np.ceil((np.ceil(high) + 0.5 - low) / BINS))
        edges = low + step * np.arange(int(np.ceil((np.ceil(high) + 0.5 - low) / step)) + 1)
    else:
        low, high = (low, high) if high > low else (float(real.min()), float(real.max()))
        edges = np.linspace(low, high, BINS + 1)
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    return {"edges": edges.tolist(), "share": _shares(np.bincount(bins, minlength=len(edges) - 1))}


def _levels(real: Any, values: Any) -> dict[str, Any]:
    import pandas as pd

    frequent = real.value_counts().index[:LEVELS]
    if pd.api.types.is_numeric_dtype(real):
        frequent = sorted(frequent)
    levels = [str(v) for v in frequent]
    found = values.astype(str).value_counts()
    counts = [int(found.get(level, 0)) for level in levels]
    if rest := int(found.sum()) - sum(counts):
        levels, counts = [*levels, "other"], [*counts, rest]
    return {"levels": levels, "share": _shares(counts)}


def _seconds(values: Any) -> np.ndarray:
    return values.astype("datetime64[s]").astype("int64").to_numpy(float)


def _shares(counts: Sequence[int] | np.ndarray) -> list[float]:
    total = float(np.sum(counts))
    return [round(float(c) / total, 6) if total else 0.0 for c in counts]
