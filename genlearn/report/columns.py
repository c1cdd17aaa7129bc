"""The columns of a table on the page: distributions one by one, associations, and the pairs that matter, real beside generated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import drawings, planes
from .rows import REAL

SHOWN = 3  # models whose columns are overlaid on the real ones
MOST_COLUMNS = 24

Row = dict[str, Any]
Trials = dict[str, dict[str, Any]]


def view(rows: Sequence[Row], trials: Trials) -> dict[str, Any] | None:
    """Return distributions of the columns, real against the best models, and how columns go together; None without them."""
    real = next((trials[row["name"]] for row in rows if row["role"] == "real"), {})
    able = [row for row in rows if not row["reference"] and trials[row["name"]].get("columns", {}).get("sketch")]
    best = able[:SHOWN]
    if not real.get("columns") or not best:
        return None
    sketch = real["columns"]["sketch"]
    plots = []
    for name in list(sketch)[:MOST_COLUMNS]:
        known = [(row, trials[row["name"]]["columns"]["sketch"].get(name)) for row in best]
        fakes = [(row, fake) for row, fake in known if fake]
        plots.append(
            {"name": name, "svg": _column(name, sketch[name], fakes), "missing": _missing(sketch[name], fakes)}
        )
    return {
        "plots": plots, "hidden": max(0, len(sketch) - MOST_COLUMNS), "trends": _trends(best, trials), "pairs": _pairs(best, trials),
        "legend": [{"name": row["name"], "colour": row["colour"]} for row in best],
    }  # fmt: skip


Fakes = Sequence[tuple[Row, dict[str, Any]]]


def _missing(real: dict[str, Any], fakes: Fakes) -> str:
    shares = [real["missing"], *(f["missing"] for _, f in fakes)]
    return " · ".join(f"{100 * s:.0f} %" for s in shares) if max(shares) > 0 else ""


def _column(name: str, real: dict[str, Any], fakes: Fakes) -> str:
    if "edges" in real:
        middles = [
            _middle(side["edges"], side["share"], bool(real.get("dates"))) for side in (real, *(f for _, f in fakes))
        ]
        said = ", ".join(f"{row['name']} {m}" for (row, _), m in zip(fakes, middles[1:], strict=True))
        label = f"Distribution of {name}. Medians: {REAL} {middles[0]}, {said}"
        drawn = [(row["colour"], f["share"]) for row, f in fakes]
        return drawings.histogram(real["edges"], real["share"], drawn, label, dates=bool(real.get("dates")))
    shares = [dict(zip(s["levels"], s["share"], strict=True)) for s in (real, *(f for _, f in fakes))]
    levels = list(dict.fromkeys(level for s in shares for level in s))
    drawn = [(row["colour"], [s.get(v, 0.0) for v in levels]) for (row, _), s in zip(fakes, shares[1:], strict=True)]
    top = levels[0] if levels else ""
    said = ", ".join(f"{row['name']} {s.get(top, 0.0):.0%}" for (row, _), s in zip(fakes, shares[1:], strict=True))
    label = f"Shares of the levels of {name}. {top}: {REAL} {shares[0].get(top, 0.0):.0%}, {said}"
    return drawings.bars(levels, [shares[0].get(level, 0.0) for level in levels], drawn, label)


def _middle(edges: Sequence[float], shares: Sequence[float], dates: bool) -> str:
    """Return the median of a distribution in bins, as text."""
    if not sum(shares):
        return "none"
    at = float(np.interp(0.5 * sum(shares), np.concatenate([[0.0], np.cumsum(shares)]), edges))
    return str(np.datetime64(int(at), "s"))[:10] if dates else drawings.short(at)


# -- how columns go together -------------------------------------------------------------------------------------------
def _trends(best: Sequence[Row], trials: Trials) -> list[dict[str, Any]]:
    """Return associations of all pairs as heat maps: of the real records once, then of each model."""
    found: list[dict[str, Any]] = []
    for row in best:
        columns = trials[row["name"]]["columns"]
        if not columns.get("real"):
            continue
        if not found:
            found.append({"name": REAL, "svg": _heatmap(columns["real"], columns["names"], REAL)})
        found.append({"name": row["name"], "svg": _heatmap(columns["fake"], columns["names"], row["name"])})
    return found


def _heatmap(matrix: Any, names: Sequence[str], who: str) -> str:
    values = np.array([[math.nan if v is None else v for v in line] for line in matrix], dtype=float)
    upper = np.triu(np.nan_to_num(values), 1)
    i, j = np.unravel_index(np.abs(upper).argmax(), upper.shape)
    strongest = f" Strongest: {names[i]} with {names[j]}, {upper[i, j]:.2f}." if len(names) > 1 else ""
    return drawings.heatmap(values, names, f"Associations of {len(names)} columns, {who}.{strongest}")


def _pairs(best: Sequence[Row], trials: Trials) -> list[dict[str, Any]]:
    """Return the pairs that are most associated in the real rows, over all models, then those that models get most wrong."""
    kept = [(row, pair) for row in best for pair in trials[row["name"]]["columns"].get("pairs", [])]
    found = []
    for why in ("associated", "worst"):
        groups: dict[tuple[str, str], list[tuple[Row, dict[str, Any]]]] = {}
        for row, pair in kept:
            if pair["why"] == why:
                groups.setdefault((pair["x"]["name"], pair["y"]["name"]), []).append((row, pair))
        for models in groups.values():
            who = "" if why == "associated" else f" of {' and '.join(row['name'] for row, _ in models)}"
            found.append(
                {**_pair(models[0][1], models), "why": f"among the {'most associated' if not who else 'worst'}{who}"}
            )
    return found


def _pair(pair: dict[str, Any], models: Sequence[tuple[Row, dict[str, Any]]]) -> dict[str, Any]:
    """Return one pair of columns as panels on the same axes: real rows first."""
    x, y = pair["x"], pair["y"]
    sides = [(REAL, 0, 0, pair), *((row["name"], row["colour"], 1, p) for row, p in models)]
    panels = []
    for name, colour, side, own in sides:
        link = own["association"][side]
        label = f"{x['name']} and {y['name']}, {name}: association {link:.2f}"
        if "boxes" in own:
            svg = planes.boxes(x, y, own["boxes"][side], colour, label)
        else:
            peak = max(max(line, default=0.0) for line in pair["shares"][0])
            svg = planes.density(x, y, own["shares"][side], peak, colour, label)
        score = "" if side == 0 else f", score {own['score']:.2f}"
        panels.append({"name": name, "colour": colour, "svg": svg, "words": f"association {link:.2f}{score}"})
    return {"title": f"{x['name']} and {y['name']}", "panels": panels}
