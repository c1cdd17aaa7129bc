"""Distributions of table columns in a few numbers: enough to draw them, too little to give records away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.records import Dataset, Records

BINS, LEVELS, COLUMNS = 24, 10, 60


def sketch(data: Dataset, records: Records) -> dict[str, dict[str, Any]]:
    """Return the distribution of each column in bins that depend on the test part only, so that rows can be overlaid.

    A number column has `edges` and `share` (24 bins from the 0.5 % to the 99.5 % quantile, the outer bins take what lies
    beyond), any other column `levels` and `share` (the ten most frequent, then the rest). `missing` is the share of empty cells,
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
    low, high = np.quantile(real, [0.005, 0.995])
    low, high = (low, high) if high > low else (real.min(), real.max())
    edges = np.linspace(low, high, BINS + 1)
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, BINS - 1)
    return {"edges": edges.tolist(), "share": _shares(np.bincount(bins, minlength=BINS))}


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
