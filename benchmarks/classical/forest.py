"""Adversarial random forests: fit time and draws beside arfpy on 5,000 adult rows, and the whole table fitted and scored."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from genlearn.data.records import Dataset, Records
from genlearn.metrics import Result, Yardstick
from genlearn.models.forest import Forest

from .. import record
from ..checks import Check, Report

TREES = 30
ROWS, HELD_OUT = 5_000, 3_000
RATIO, SECONDS = 10, 20  # bars
REPEATS = 3
TARGET = "income"


def adult(n: int | None = None) -> pd.DataFrame:
    """Return rows of adult in random order; "?" is a level like others, for arfpy takes no missing cells."""
    table = pd.read_csv(record.data("tables/adult-train.csv"), keep_default_na=False)
    return table.sample(n or len(table), random_state=0).reset_index(drop=True)


def records(table: pd.DataFrame) -> Records:
    """Return rows with their target."""
    return Records("table", table.reset_index(drop=True), target=TARGET)


def arfpy(rows: pd.DataFrame, draws: int) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return arfpy's seconds and draws, from its own environment."""
    python = record.HERE / "peers/arfpy/bin/python"
    if not python.exists():
        sys.exit("benchmarks: arfpy's environment is missing. Run benchmarks/peers/make.sh arfpy")
    with tempfile.TemporaryDirectory() as folder:
        given, back = Path(folder) / "rows.csv", Path(folder) / "draws.csv"
        rows.to_csv(given, index=False)
        script = str(record.HERE / "peers/arfpy_forest.py")
        command = [str(python), "-W", "ignore", script, str(given), str(TREES), str(draws), str(back)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        drawn = pd.read_csv(back, keep_default_na=False)
    for name in rows.select_dtypes("number"):  # whole numbers, as they came
        drawn[name] = pd.to_numeric(drawn[name]).round().astype(rows[name].dtype)
    return json.loads(out.strip().splitlines()[-1]), drawn


def ours(rows: pd.DataFrame, leaf: str = "product") -> tuple[float, Forest]:
    """Return seconds and the fitted forest."""
    begun = time.perf_counter()
    model = Forest(trees=TREES, leaf=leaf, random_state=0).fit(records(rows))  # type: ignore[arg-type]
    return time.perf_counter() - begun, model


def beside_arfpy(n: int, repeats: int) -> tuple[list[Check], dict[str, Any]]:
    """Fit both on the same rows in turn, and judge equally many draws by the same two-sample tests."""
    table = adult()
    train, valid, test = table[:n], table[n : n + HELD_OUT], table[n + HELD_OUT : n + 2 * HELD_OUT]
    yardstick = Yardstick(Dataset("adult", records(train), records(valid), records(test)))
    ours(train[:500])  # warm up
    mine, theirs = [], []
    for _ in range(repeats):
        seconds, model = ours(train)
        mine.append(seconds)
        peer, drawn = arfpy(train, HELD_OUT)
        theirs.append(peer["fit"])
    begun = time.perf_counter()
    own = model.draw(HELD_OUT, random_state=1)
    draw_seconds = time.perf_counter() - begun
    judged = {"forest": yardstick.judge(own), "arfpy": yardstick.judge(records(drawn))}
    auc = {name: tuple(_numbers(judgement.metrics["auc"])) for name, judgement in judged.items()}
    fit, peer_fit = record.spread(mine), record.spread(theirs)
    ratio = peer_fit["median"] / fit["median"]
    copies = judged["forest"].copies
    checks = [
        Check(
            f"adult, {n:,} rows, {TREES} trees: seconds of arfpy's fit by ours",
            f">= {RATIO}",
            f"{ratio:.0f} ({peer_fit['median']:.1f} s / {fit['median']:.2f} s, ours {fit['low']:.2f} to {fit['high']:.2f})",
            ratio >= RATIO,
        ),
        Check(
            f"two-sample AUC of {HELD_OUT:,} draws against as many test rows",
            "arfpy's or lower",
            " beside ".join(f"{name} {v:.3f} [{low:.3f} {high:.3f}]" for name, (v, low, high) in auc.items()),
            auc["forest"][0] <= auc["arfpy"][0],
        ),
        Check(
            "copies among our draws",
            "no flag",
            "flag" if copies and copies.flag else "no flag",
            not (copies and copies.flag),
        ),
    ]
    metrics = {
        name: {key: round(_numbers(r)[0], 4) for key, r in judgement.metrics.items() if r.known}
        for name, judgement in judged.items()
    }
    draws = {"ours": round(HELD_OUT / draw_seconds), "arfpy": round(HELD_OUT / peer["draw"])}
    details = {"fit": fit, "arfpy_fit": peer_fit, "arfpy": peer, "rows_drawn_per_second": draws, "metrics": metrics}
    return checks, details


def _numbers(result: Result) -> list[float]:
    """Return value and interval of a metric, NaN where it has none."""
    return [math.nan if v is None else float(v) for v in (result.value, result.low, result.high)]


def leaf_laws(n: int) -> dict[str, Any]:
    """Return held-out nats, and seconds to fit, of both laws of leaves on real tables."""
    found: dict[str, Any] = {}
    for name, target in (("adult-train", "income"), ("magic", "class"), ("abalone", "rings")):
        table = pd.read_csv(record.data(f"tables/{name}.csv"), keep_default_na=False)
        table = table.sample(len(table), random_state=0)
        part = min(n, int(0.8 * len(table)))
        for leaf in ("product", "gaussian"):
            begun = time.perf_counter()
            train = Records("table", table[:part].reset_index(drop=True), target=target)
            model = Forest(trees=TREES, leaf=leaf, random_state=0).fit(train)  # type: ignore[arg-type]
            seconds = time.perf_counter() - begun
            test = Records("table", table[part : part + HELD_OUT].reset_index(drop=True), target=target)
            found[f"{name} {leaf}"] = {"nats": round(model.score(test), 3), "seconds": round(seconds, 2)}
    return found


def whole_table(n: int | None) -> Check:
    """Fit and score all rows of adult."""
    table = adult(n)
    seconds, model = ours(table)
    begun = time.perf_counter()
    nats = model.score(records(table))
    scoring = time.perf_counter() - begun
    return Check(
        f"adult, all {len(table):,} rows, {TREES} trees: seconds to fit and to score",
        f"<= {SECONDS} (R arf: 40)",
        f"{seconds + scoring:.1f} ({seconds:.1f} + {scoring:.1f}; {nats:.2f} nats per record, {torch.get_num_threads()} threads)",
        seconds + scoring <= SECONDS,
    )


def run(quick: bool = False) -> Report:
    """Compare with arfpy, then fit and score the whole table."""
    ours(adult(500))  # warm up
    whole = whole_table(5_000 if quick else None)
    checks, details = beside_arfpy(1_000 if quick else ROWS, 1 if quick else REPEATS)
    laws = leaf_laws(1_000 if quick else ROWS)
    notes = [
        f"Both have {TREES} trees, leaves of at least 5 records, scikit-learn's forest on 2 threads, the same rows in one run, "
        "in turn; arfpy runs in its own environment. Fit is the adversarial rounds and the density.",
        "The AUC is the mean of both feature spaces, lower is better, 0.5 cannot be told; arfpy's whole numbers are rounded.",
        "Held-out nats per record of the leaf laws: "
        + "; ".join(f"{name} {f['nats']:.2f} ({f['seconds']:.1f} s)" for name, f in laws.items())
        + ".",
    ]
    return Report("Adversarial random forests", [whole, *checks], notes=notes, details={**details, "leaf_laws": laws})
