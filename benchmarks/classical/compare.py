"""`genlearn compare` on abalone and magic, as a user types it: every row filled, the pictures of the report all there.

The budget is what a model that learns by steps may take for a fit; the others take what they need.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .. import record
from ..checks import Check, Report

TABLES = {"abalone": ("tables/abalone.csv", "rings"), "magic": ("tables/magic.csv", "class")}
RUNS = record.HERE / "runs/compare"  # reports stay there, to be looked at
BUDGET, QUICK_BUDGET, QUICK_ROWS = "20s", "1s", 300
JUDGED = ("auc", "coverage", "useful")  # what every row must hold
DRAWN = {  # class of a drawing -> what it shows, and how many there must be at least
    "histogram": ("columns", 5),
    "density": ("pairs of numbers", 4),
    "heatmap": ("all pairs", 2),
    "network": ("the network's graph", 1),
    "sizes": ("sizes of trees", 2),
}


def compared(name: str, out: Path, *, quick: bool) -> float:
    """Run the command and return its seconds."""
    path, target = TABLES[name]
    command = [
        sys.executable, "-m", "genlearn", "compare", str(record.data(path)), "--target", target, "--out", str(out),
        "--seed", "0", "--budget", QUICK_BUDGET if quick else BUDGET, "--quiet",
    ]  # fmt: skip
    if quick:
        command += ["--rows", str(QUICK_ROWS), "--models", "gmm,bayesnet,forest,sequentialtree"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    """Return the judged rows by model."""
    rows = (json.loads(path.read_text()) for path in sorted(out.glob("*/row-0.json")))
    return {row["model"]: row for row in rows}


def holes(row: dict[str, Any]) -> list[str]:
    """Return what is missing in a row."""
    if row["error"]:
        return ["all"]
    found = {name: result and result.get("value") for name, result in row["metrics"].items()}
    lost = [name for name in JUDGED if found.get(name) is None]
    return lost + [name for name, value in found.items() if value is None and name not in lost]


def run(*, quick: bool = False) -> Report:
    """Compare every model on both tables and look at what the report holds."""
    checks, details = [], {}
    for name in ["abalone"] if quick else TABLES:
        out = RUNS / f"{name}-quick" if quick else RUNS / name
        shutil.rmtree(out, ignore_errors=True)
        seconds, rows = compared(name, out, quick=quick), rows_of(out)
        skipped = json.loads((out / "report.json").read_text())["skipped"]
        page = (out / "report.html").read_text()
        lost = {model: gaps for model, row in rows.items() if (gaps := holes(row))}
        reached = f"{len(rows) - len(lost)} of {len(rows) + len(skipped)} rows, {seconds:.0f} s"
        reached += "".join(f"; {model} lacks {', '.join(gaps)}" for model, gaps in lost.items())
        checks.append(Check(f"{name}: every model judged", "all rows filled", reached, not lost and not skipped))
        counts = {kind: len(re.findall(f'<svg class="{kind}[ "]', page)) for kind in DRAWN}
        words = ", ".join(f"{DRAWN[kind][0]} {n}" for kind, n in counts.items())
        met = all(n >= DRAWN[kind][1] for kind, n in counts.items())
        checks.append(Check(f"{name}: pictures of the report", "all kinds there", words, met))
        details[name] = {
            model: {k: round(v["value"], 4) for k, v in row["metrics"].items() if v and v.get("value") is not None}
            | {"seconds": round(row["cost"]["seconds"], 2)}
            for model, row in rows.items()
            if row["cost"]
        }
    notes = [f"`genlearn compare TABLE --target COLUMN --seed 0 --budget {BUDGET}`, all models."]
    return Report("Every model on a table", checks, notes, [0], details)
