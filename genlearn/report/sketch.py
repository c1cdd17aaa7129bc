"""Distributions of table columns, one by one and in pairs, in a few numbers: enough to draw them, too little to give records away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..metrics.pairs import Trends
from ..metrics.schema import Schema

BINS, LEVELS, COLUMNS = 24, 8, 60
GRID, GROUPS = 18, 6  # bins per side and levels of a pair
ASSOCIATED, WORST = 4, 2  # pairs that are kept
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 5  # rows of a level that have quantiles


def sketch(schema: Schema, real: pd.DataFrame, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the distribution of each varying column in bins that depend on the real records only, so that rows can be overlaid.

    A number column has `edges` and `share` (at most 24 bins from the 0.5 % to the 99.5 % quantile of the test part, the outer bins
    take what lies beyond), any other column `levels` and `share` (the eight most frequent of training, then the rest). `missing`
    is the share of empty cells, `share` refers to the others. Identifiers and free text are left out, and columns after the 60th.

    Arguments:
        schema: The columns.
        real: Rows of the test part, for the bins.
        frame: Rows to be sketched.
    """
    found = {}
    for name in schema.varying[:COLUMNS]:
        if name not in schema.numbers:
            found[str(name)] = _levels(schema.levels[name], schema.level(frame, name))
            continue
        known, values = schema.number(real, name), schema.number(frame, name)
        if not np.isfinite(known).any():
            continue
        found[str(name)] = _numbers(known[np.isfinite(known)], values[np.isfinite(values)])
        found[str(name)]["missing"] = float(np.mean(np.isnan(values)))
        if _is_date(schema, name):
            found[str(name)]["dates"] = True
    return found


def _is_date(schema: Schema, name: str) -> bool:
    return schema.numbers[name] is not None or schema.train[name].dtype.kind == "M"


def _edges(real: np.ndarray, most: int) -> np.ndarray:
    """Return the limits of at most `most` bins, from the 0.5 % to the 99.5 % quantile."""
    low, high = (float(q) for q in np.quantile(real, [0.005, 0.995]))
    if (real == np.round(real)).all():  # whole numbers: bins of equal whole width, or teeth appear that are not there
        low, high = np.floor(low), np.ceil(high)
        step = np.ceil((high - low + 1) / most)
        return low - 0.5 + step * np.arange(int((high - low) // step) + 2)
    low, high = (low, high) if high > low else (float(real.min()) - 0.5, float(real.max()) + 0.5)
    return np.linspace(low, high, most + 1)


def _binned(edges: Sequence[float] | np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)


def _numbers(real: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    edges = _edges(real, BINS)
    return {"edges": edges.tolist(), "share": _shares(np.bincount(_binned(edges, values), minlength=len(edges) - 1))}


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


# -- pairs of columns --------------------------------------------------------------------------------------------------
def pairs(schema: Schema, trends: Trends, real: pd.DataFrame, fake: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the four most associated pairs of columns, the same for every model, and the two that this model gets most wrong.

    Each entry has the columns `x` and `y`, the score of the pair (1 = alike), the association in real and in generated rows, and what
    is to be drawn of both: `shares` of a grid for two numbers or two categories, `boxes` (quantiles of the number per level) for one
    of each. A column is among the most associated pairs twice at most, so that one block of columns does not take all places.
    """
    names = trends.names
    upper = list(zip(*np.triu_indices(len(names), 1), strict=True))
    drawable = [(int(i), int(j)) for i, j in upper if all(_can_be_drawn(schema, real, names[k]) for k in (i, j))]
    uses = [0] * len(names)
    chosen: dict[tuple[int, int], str] = {}
    for i, j in sorted(drawable, key=lambda p: -abs(trends.real[p])):
        if len(chosen) < ASSOCIATED and max(uses[i], uses[j]) < 2:
            chosen[i, j], uses[i], uses[j] = "associated", uses[i] + 1, uses[j] + 1
    worst = [p for p in sorted(drawable, key=lambda p: trends.scores[p]) if p not in chosen]
    chosen |= dict.fromkeys(worst[:WORST], "worst")
    found = []
    for (i, j), why in chosen.items():
        link = [round(float(side[i, j]), 4) for side in (trends.real, trends.fake)]
        drawn = _pair(schema, real, fake, names[i], names[j])
        found.append({"why": why, "score": round(float(trends.scores[i, j]), 4), "association": link, **drawn})
    return found


def _can_be_drawn(schema: Schema, real: pd.DataFrame, name: str) -> bool:
    return name not in schema.numbers or bool(np.isfinite(schema.number(real, name)).any())


def _pair(schema: Schema, real: pd.DataFrame, fake: pd.DataFrame, a: str, b: str) -> dict[str, Any]:
    if a not in schema.numbers and b in schema.numbers:
        a, b = b, a  # a number lies on the horizontal axis
    x, y = _axis(schema, real, a), _axis(schema, real, b)
    if "edges" in x and "levels" in y:
        return {"x": x, "y": y, "boxes": [_boxes(schema, f, a, (b, y)) for f in (real, fake)]}
    return {"x": x, "y": y, "shares": [_grid(schema, f, (a, x), (b, y)) for f in (real, fake)]}


def _axis(schema: Schema, real: pd.DataFrame, name: str) -> dict[str, Any]:
    if name not in schema.numbers:
        levels = list(schema.levels[name])
        return {"name": str(name), "levels": [*levels[:GROUPS], *(["other"] if len(levels) > GROUPS else [])]}
    known = schema.number(real, name)
    edges = _edges(known[np.isfinite(known)], GRID).tolist()
    return {"name": str(name), "edges": edges, "dates": _is_date(schema, name)}


def _place(schema: Schema, frame: pd.DataFrame, name: str, axis: dict[str, Any]) -> np.ndarray:
    """Return `(n,)` bin or level numbers, -1 where the cell is missing."""
    if "levels" in axis:
        level = schema.level(frame, name)
        return np.where(level == len(schema.levels[name]), -1, np.minimum(level, len(axis["levels"]) - 1))
    values = schema.number(frame, name)
    return np.where(np.isnan(values), -1, _binned(axis["edges"], np.nan_to_num(values)))


def _cells(axis: dict[str, Any]) -> int:
    return len(axis["levels"]) if "levels" in axis else len(axis["edges"]) - 1


def _grid(
    schema: Schema, frame: pd.DataFrame, first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]
) -> list[list[float]]:
    """Return the joint shares as rows, lowest value of the second column first."""
    (x, y), (columns, rows) = (
        (_place(schema, frame, *p) for p in (first, second)),
        (_cells(first[1]), _cells(second[1])),
    )
    known = (x >= 0) & (y >= 0)
    counts = np.bincount(y[known] * columns + x[known], minlength=rows * columns)
    return np.round(counts / max(int(known.sum()), 1), 5).reshape(rows, columns).tolist()


def _boxes(
    schema: Schema, frame: pd.DataFrame, number: str, group: tuple[str, dict[str, Any]]
) -> list[list[float] | None]:
    """Return five quantiles of the number per level; None where a level has too few rows."""
    values, level = schema.number(frame, number), _place(schema, frame, *group)
    parts = [values[(level == k) & np.isfinite(values)] for k in range(_cells(group[1]))]
    return [
        [float(f"{q:.5g}") for q in np.quantile(part, QUANTILES)] if len(part) >= FEWEST else None for part in parts
    ]
