"""Distributions of table columns in a few numbers: enough to draw them, too little to give records away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.records import Dataset, Records
from ..metrics.schema import Schema

BINS, LEVELS, COLUMNS = 24, 8, 60


def sketch(data: Dataset, records: Records) -> dict[str, dict[str, Any]]:
    """Return the distribution of each varying column in bins that depend on the real records only, so that rows can be overlaid.

    A number column has `edges` and `share` (at most 24 bins from the 0.5 % to the 99.5 % quantile of the test part, the outer bins
    take what lies beyond), any other column `levels` and `share` (the eight most frequent of training, then the rest). `missing`
    is the share of empty cells, `share` refers to the others. Identifiers and free text are left out, and columns after the 60th.
    """
    schema = Schema.of(data.train)
    found = {}
    for name in schema.varying[:COLUMNS]:
        if name in schema.numbers:
            real, values = schema.number(data.test.x, name), schema.number(records.x, name)
            if not np.isfinite(real).any():
                continue
            found[str(name)] = _numbers(real[np.isfinite(real)], values[np.isfinite(values)])
            found[str(name)]["missing"] = float(np.mean(np.isnan(values)))
            if schema.numbers[name] is not None or data.train.x[name].dtype.kind == "M":
                found[str(name)]["dates"] = True
        else:
            found[str(name)] = _levels(schema.levels[name], schema.level(records.x, name))
    return found


def _numbers(real: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    low, high = (float(q) for q in np.quantile(real, [0.005, 0.995]))
    if (real == np.round(real)).all():  # whole numbers: bins of equal whole width, or teeth appear that are not there
        low, high = np.floor(low), np.ceil(high)
        step = np.ceil((high - low + 1) / BINS)
        edges = low - 0.5 + step * np.arange(int((high - low) // step) + 2)
    else:
        low, high = (low, high) if high > low else (float(real.min()) - 0.5, float(real.max()) + 0.5)
        edges = np.linspace(low, high, BINS + 1)
    bins = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
    return {"edges": edges.tolist(), "share": _shares(np.bincount(bins, minlength=len(edges) - 1))}


def _levels(names: Sequence[str], values: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(values, minlength=len(names) + 2)
    missing = float(counts[len(names)]) / max(len(values), 1)
    known = int(counts.sum() - counts[len(names)])
    shown = list(names[:LEVELS])
    kept = counts[: len(shown)].tolist()
    if rest := known - sum(kept):
        shown, kept = [*shown, "other"], [*kept, rest]
    return {"levels": shown, "share": _shares(kept), "missing": missing}


def _shares(counts: Sequence[int] | np.ndarray) -> list[float]:
    total = float(np.sum(counts))
    return [round(float(c) / total, 6) if total else 0.0 for c in counts]
