"""The numbers of a report, as plain values for the template: each function turns rows of `report.json` into one section."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import store
from ..errors import Problem
from ..metrics import METRICS
from ..model import model_class
from . import drawings
from .board import SHORT, copying, duration
from .rows import REAL

DIGITS = {"nats": 1, "kid_a": 3, "kid_b": 3, "active_units": 0}
HEADLINE = {"auc": (0.5, 1.0), "coverage": (0.0, 1.0), "useful": None}

Row = dict[str, Any]


def lines(report: dict[str, Any]) -> list[Row]:
    """Return the rows in reading order (real data, candidates by rank, yardsticks), with role and colour."""
    real = [r for r in report["references"] if r["name"] == REAL]
    others = [r for r in report["references"] if r["name"] != REAL]
    keep = report["verdict"]["keep"]
    found = []
    for number, row in enumerate(report["models"], 1):
        colour = min(number, drawings.COLOURS)
        found.append(
            {**row, "role": "keep" if row["name"] == keep else "candidate", "colour": colour, "reference": False}
        )

    def yardstick(row: Row, role: str) -> Row:
        return {**row, "role": role, "colour": 0, "reference": True}

    every = [*(yardstick(r, "real") for r in real), *found, *(yardstick(r, "yardstick") for r in others)]
    return [{"error": None, **row} for row in every]


def home_of(folder: Path, name: str) -> Path:
    """Return the folder of a row, a folder of the comparison's own."""
    if name in ("", ".", "..") or not {"/", "\\", "\0"}.isdisjoint(name):
        raise ValueError(f'"{name}" names no row')
    return folder / ("real" if name == REAL else name)


def trial_of(home: Path) -> dict[str, Any]:
    """Return what is stored of the first seed of a row in its folder; empty if it failed."""
    path = home / "row-0.json"
    return store.read_json(path) if path.is_file() else {}


# -- numbers -----------------------------------------------------------------------------------------------------------
def figure(result: dict[str, Any] | None, digits: int = 2) -> dict[str, Any]:
    """Return value and interval of a metric as text; a dash where there is none, with the reason as a note."""
    if result is None or result["value"] is None:
        return {"value": "–", "interval": "", "note": (result or {}).get("note", "")}
    low, high = result["low"], result["high"]
    between = (
        ""
        if low is None or high is None
        else f"{_signed(low, digits)}{' to ' if low < 0 else ' – '}{_signed(high, digits)}"
    )
    return {"value": _signed(result["value"], digits), "interval": between, "note": result["note"]}


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def board(report: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return the leaderboard: headline metrics as numbers and whiskers, nats, copies, cost."""
    able = [row for row in rows if row["error"] is None or row["metrics"]]
    real = next((row for row in rows if row["role"] == "real"), None)
    heads = [name for name in HEADLINE if any(_value(row, name) is not None for row in able)]
    domains = {name: _domain(name, able) for name in heads}
    shown = []
    for row in able:
        cells = []
        for name in heads:
            cell = figure(row["metrics"].get(name))
            if (value := _value(row, name)) is not None:
                result = row["metrics"][name]
                goal = None if real is None else _value(real, name)
                words = f"{METRICS[name].title} of {row['name']}: {cell['value']}, 95 % interval {cell['interval']}"
                cell["whisker"] = drawings.whisker(value, result["low"], result["high"], domains[name], goal, words)
            cells.append(cell)
        nats = figure(row["metrics"].get("nats"), 1)
        shown.append({
            "name": row["name"], "role": row["role"], "colour": row["colour"], "cells": cells, "nats": nats,
            "kind": row["kind"] if nats["value"] != "–" else "", "copies": copying(row["copies"]),
            "copy_note": row["copy_test"].get("note", ""), "fit": duration(row["cost"].get("seconds")), "seeds": row["seeds"],
        })  # fmt: skip
    unsure = next((row["copy_note"] for row in shown if row["copies"] == "?" and row["copy_note"]), "")
    failed = [{"name": row["name"], "error": row["error"]} for row in rows if row["error"] is not None]
    return {
        "heads": [_head(name, METRICS[name].title + _unit(report, name)) for name in heads],
        "nats_head": _head("nats", "nats / record"), "copies_head": METRICS["copies"].question,
        "copies": any(row["copy_test"] for row in able), "fit": any(row["cost"] for row in able),
        "rows": shown, "failed": failed, "unsure": unsure,
        "nats": any(row["nats"]["value"] != "–" for row in shown), "n": report["data"]["n"],
    }  # fmt: skip


def _head(name: str, title: str) -> dict[str, str]:
    """Return the heading of a metric, with what it asks and what is good."""
    return {"title": title, "question": METRICS[name].question, "better": f"{METRICS[name].direction} is better"}


def _unit(report: dict[str, Any], name: str) -> str:
    unit = report["data"].get("useful")
    return f" ({SHORT.get(unit, unit)})" if name == "useful" and unit else ""


def _value(row: Row, name: str) -> float | None:
    return row["metrics"][name]["value"] if name in row["metrics"] else None


def _domain(name: str, rows: Sequence[Row]) -> tuple[float, float]:
    ends = [
        v
        for row in rows
        if name in row["metrics"]
        for k in ("value", "low", "high")
        if (v := row["metrics"][name][k]) is not None
    ]
    low, high = HEADLINE[name] or (min(ends), max(ends))
    return min(low, *ends), max(high, *ends)


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    """Return every metric of every row, metrics downwards, each with what it asks, what is good and what it was measured on."""
    able = [row for row in rows if row["metrics"]]
    names = [name for name in METRICS if any(_value(row, name) is not None for row in able)]
    body = []
    for name in names:
        digits = DIGITS.get(name, 2)
        cells = [figure(row["metrics"].get(name), digits) for row in able]
        notes = [f"{row['name']}: {cell['note']}" for row, cell in zip(able, cells, strict=True) if cell["note"]]
        head = _head(name, METRICS[name].title)
        words = f"{METRICS[name].explain} {_measured(name, able, digits)}"
        body.append({**head, "words": words, "cells": cells, "notes": _once(notes)})
    return {"names": [row["name"] for row in able], "rows": body, "copies": METRICS["copies"]}


def _measured(name: str, rows: Sequence[Row], digits: int) -> str:
    """Say how many records a metric was measured on, what real data reach, and what the interval means."""
    known = [row["metrics"][name] for row in rows if _value(row, name) is not None]
    n = max(result["n"] for result in known)
    against = "" if name in ("nats", "active_units", "kl") else " of each side"
    real = next((row for row in rows if row["role"] == "real" and _value(row, name) is not None), None)
    best = ""
    if real is not None:
        shown = figure(real["metrics"][name], digits)
        best = f" Real data reach {shown['value']}{' (' + shown['interval'] + ')' if shown['interval'] else ''}."
    spread = any(result["low"] is not None for result in known)
    told = (
        "The small figures are the 95 % interval: intervals that overlap show no difference."
        if spread
        else "It has no interval, so small differences mean nothing."
    )
    return f"Measured on {n:,} records{against}.{best} {told}"


def _once(notes: Sequence[str]) -> list[str]:
    """Return notes, those that every row repeats only once and without its name."""
    said: dict[str, list[str]] = {}
    for note in notes:
        name, _, text = note.partition(": ")
        said.setdefault(text, []).append(name)
    return [text if len(names) > 2 else f"{', '.join(names)}: {text}" for text, names in said.items()]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return what the judge noticed: once where it holds for several rows, else with the row's name."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for text in row.get("remarks", []):
            said.setdefault(text, []).append(row["name"])
    return [text if len(names) > 1 else f"{names[0]}: {text}" for text, names in said.items()]


def findings(rows: Sequence[Row], trials: dict[str, dict[str, Any]]) -> list[str]:
    """Return what is wrong with the models and what to try, each with the model's name where there are several."""
    several = sum(not row["reference"] for row in rows) > 1
    return [
        f"{row['name']}: {text}" if several else f"{text[:1].upper()}{text[1:]}"
        for row in rows
        if not row["reference"]
        for text in trials[row["name"]].get("exhibits", {}).get("findings", [])
    ]


def spreads(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the values of every seed, for rows with several."""
    found = []
    for row in rows:
        for name in HEADLINE:
            values = row.get("spread", {}).get(name, [])
            if len(values) > 1:
                found.append(
                    {"name": row["name"], "title": METRICS[name].title, "values": [f"{v:.3f}" for v in values]}
                )
    return found


def costs(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return what each fit cost."""
    found = []
    for row in rows:
        cost = row["cost"]
        if cost:
            found.append({
                "name": row["name"], "fit": duration(cost.get("seconds")), "steps": _count(cost.get("steps")),
                "parameters": _count(cost.get("parameters")), "rate": _count(cost.get("samples_per_second")),
                "memory": "–" if cost.get("peak_memory_mb") is None else f"{cost['peak_memory_mb']:,.0f} MB",
            })  # fmt: skip
    return found


def _count(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:,.2f} M"


def settings(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the settings of each model, those that differ from the default first and marked."""
    found = []
    for row in rows:
        if not row["settings"]:
            continue
        try:
            defaults = {k: s.default for k, s in model_class(_class_name(row)).settings().items()}
        except Problem:  # a model of another package that is not installed here
            defaults = {}
        pairs = [
            {
                "name": k,
                "value": _plain(v),
                "changed": k in defaults and k != "random_state" and _plain(v) != _plain(defaults[k]),
            }
            for k, v in row["settings"].items()
        ]
        found.append({"name": row["name"], "pairs": sorted(pairs, key=lambda p: not p["changed"])})
    return found


def _class_name(row: Row) -> str:
    return str(row.get("model") or row["name"])


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def codec_notes(rows: Sequence[Row]) -> list[str]:
    """Return what the codecs did to the records, each sentence once."""
    return list(dict.fromkeys(note for row in rows for note in row.get("notes", [])))
