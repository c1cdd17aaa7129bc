"""The pictures of a report, as plain values for the template: grids, tables of records, training curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import drawings
from .album import Album

Row = dict[str, Any]

PLATES = (
    ("samples", "Samples", "Drawn with a fixed seed, the first ones, not chosen. Real held-out records first."),
    ("nearest", "Nearest training records", "The eight generated records that lie closest to a training record, each above it."),
    ("labels", "Samples by label", "One column per label, asked for by name."),
    ("reconstructions", "Reconstructions", "Held-out records above what is left of them after encoding and decoding."),
    ("interpolation", "From one record to another",
     "Left and right are held-out records after encoding and decoding; between them, the straight line in latent space."),
)  # fmt: skip


def pictures(
    rows: Sequence[Row], trials: dict[str, dict[str, Any]], homes: dict[str, Path], album: Album
) -> list[dict[str, Any]]:
    """Return the plates of images: one section per kind of picture, one figure per row."""
    found = []
    for kind, title, words in PLATES:
        figures = []
        for row in rows:
            alt = trials[row["name"]].get("exhibits", {}).get("alt", {}).get(kind)
            picture = album.picture(homes[row["name"]] / f"{kind}.png", alt) if alt else None
            if picture is not None:
                figures.append({"name": row["name"], "role": row["role"], "colour": row["colour"], "picture": picture})
        if figures:
            found.append({"kind": kind, "title": title, "words": words, "figures": figures})
    return found


def along(folder: Path, album: Album) -> list[dict[str, Any]]:
    """Return the pictures that were drawn while a model learned, in the order of the steps."""
    paths = sorted(folder.glob("*-[0-9]*.png"), key=_step)
    figures = [
        {"name": _caption(p), "role": "candidate", "colour": 1, "picture": picture}
        for p in paths
        if p.stem.partition("-")[0] in ("samples", "reconstructions")
        if (picture := album.picture(p, f"Grid of images: {_caption(p)}"))
    ]
    words = "Drawn while the model learned, always with the same seed and the same records."
    return [{"kind": "samples", "title": "Along the training", "words": words, "figures": figures}] if figures else []


def _step(path: Path) -> tuple[str, int]:
    kind, _, step = path.stem.rpartition("-")
    return kind, int(step) if step.isdigit() else 0


def _caption(path: Path) -> str:
    kind, step = _step(path)
    return f"{kind}, step {step:,}" if kind else path.stem


# -- tables ------------------------------------------------------------------------------------------------------------
def tables(rows: Sequence[Row], trials: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sample rows, nearest training rows, reconstructions and strips of a table comparison."""
    samples, nearest, again, between = [], [], [], []
    for row in rows:
        exhibit = trials[row["name"]].get("exhibits", {})
        head = {"name": row["name"], "role": row["role"], "colour": row["colour"]}
        if exhibit.get("samples"):
            samples.append({**head, "columns": exhibit["columns"], "lines": [{"cells": c} for c in exhibit["samples"]]})
        if exhibit.get("nearest") and not row["reference"]:
            near = exhibit["nearest"]
            pairs = zip(near["made"], near["kept"], strict=True)
            nearest.append({**head, "columns": exhibit["columns"], "lines": _paired(pairs)})
        if exhibit.get("reconstructions"):
            made = exhibit["reconstructions"]
            again.append(
                {**head, "columns": exhibit["columns"], "lines": _paired(zip(made["made"], made["kept"], strict=True))}
            )
        if exhibit.get("interpolation"):
            way = exhibit["interpolation"]
            between.append({**head, "columns": way["columns"], "lines": [{"cells": c} for c in way["rows"]]})
    parts = [
        ("Samples", "The first rows of a draw with a fixed seed, not chosen. Real held-out rows first.", samples),
        ("Nearest training rows", "Generated rows closest to a training row, each above it; cells that agree are dimmed.", nearest),
        ("Reconstructions", "Rows after encoding and decoding, each above the held-out row; cells that agree are dimmed.", again),
        ("From one row to another", "The straight line between the codes of two held-out rows, decoded.", between),
    ]  # fmt: skip
    return [{"title": title, "words": words, "tables": found} for title, words, found in parts if found]


def _paired(pairs: Any) -> list[dict[str, Any]]:
    found = []
    for made, kept in pairs:
        same = [a == b for a, b in zip(made, kept, strict=True)]
        found += [{"cells": made, "same": same, "first": True}, {"cells": kept, "same": same, "second": True}]
    return found


# -- training curves ---------------------------------------------------------------------------------------------------
def curves(row: Row, home: Path) -> dict[str, Any] | None:
    """Return the training curves of a model from its history; None without one."""
    paths = [p for p in (home / "seed0" / "history.jsonl", home / "history.jsonl") if p.is_file()]
    if not paths or row["reference"]:
        return None
    series: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for entry in _history(paths[0]):
        for name, value in entry.items():
            if name in ("step", "seconds", "best") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            xs, ys = series.setdefault(name.removeprefix("valid "), {}).setdefault(name, ([], []))
            xs.append(float(entry["step"]))
            ys.append(float(value))
    plots = []
    for group, members in series.items():
        parts = [(name, xs, ys) for name, (xs, ys) in sorted(members.items()) if len(xs) > 1]
        if parts:
            plots.append(_plot(group, parts, row["name"]))
    return {"name": row["name"], "colour": row["colour"], "plots": plots[:8]} if plots else None


def _plot(group: str, parts: Sequence[drawings.Series], who: str) -> dict[str, Any]:
    """Return one curve, or training beside validation, with first and last values in words."""
    said = [f"{name} from {drawings.short(ys[0])} to {drawings.short(ys[-1])}" for name, _, ys in parts]
    steps = int(max(xs[-1] for _, xs, _ in parts))
    label = f"Training of {who} over {steps:,} steps: {', '.join(said)}"
    ends = " · ".join(("valid " if name.startswith("valid ") else "") + drawings.short(ys[-1]) for name, _, ys in parts)
    return {"name": group, "last": ends, "svg": drawings.curve(parts, label)}


def _history(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a history; a run that began anew replaces the steps that it repeats."""
    kept: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = _entry(line)
        if entry and kept and entry["step"] < kept[-1]["step"]:
            kept = [e for e in kept if e["step"] < entry["step"]]
        kept += [entry] if entry else []
    return kept


def _entry(line: str) -> dict[str, Any]:
    """Return one line of history; the last line of a killed run may be cut off and counts as empty."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return entry if isinstance(entry, dict) and "step" in entry else {}
