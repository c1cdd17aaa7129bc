"""Mixed tables beside ctgan's TVAE (its defaults, 300 epochs, in its own environment): adult and abalone.

TVAE is fitted first; our VAE, also with its defaults, then gets a fifth of that time. Both learn from the same rows (we take our
validation part out of them), and the same yardstick judges both against the test part.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import genlearn
from genlearn.data.records import Dataset, Records
from genlearn.metrics import Yardstick
from genlearn.metrics.base import Result
from genlearn.models import VAE

from .. import record
from ..checks import Check, Report

SHARE = 0.2  # of TVAE's time
QUESTIONS = {"auc": "two-sample AUC", "useful": "utility", "shapes": "column shapes", "pairs": "column pairs"}


def table(name: str) -> Dataset:
    """Return a table in three parts; a question mark is a value like any other, as TVAE knows no missing cells."""
    if name == "adult":
        train, test = (_frame(f"tables/adult-{part}.csv") for part in ("train", "test"))
        return genlearn.read(train, test=test, target="income")
    return genlearn.read(_frame("tables/abalone.csv"), target="rings")


def _frame(file: str) -> pd.DataFrame:
    frame = pd.read_csv(record.data(file), keep_default_na=False)
    return frame.replace({"?": "unknown"})


def theirs(data: Dataset, quick: bool) -> tuple[Records, dict[str, float]]:
    """Return TVAE's rows and its clock."""
    python = record.HERE / "peers/ctgan/bin/python"
    if not python.exists():
        sys.exit("benchmarks: ctgan's environment is missing. Run benchmarks/peers/make.sh ctgan")
    rows = pd.concat([data.train.x, data.valid.x])
    words = [str(c) for c in rows if not pd.api.types.is_numeric_dtype(rows[c])]
    with tempfile.TemporaryDirectory() as folder:
        train, fake = (Path(folder) / f"{word}.csv" for word in ("train", "fake"))
        rows.to_csv(train, index=False)
        script = str(record.HERE / "peers/ctgan_tables.py")
        command = [str(python), script, str(train), str(fake), "0", ",".join(words), *(["3"] if quick else [])]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        drawn = pd.read_csv(fake, keep_default_na=False)
    # What the reader made of the rows, such as levels and dates, holds for TVAE's rows, too.
    return Records("table", drawn.astype(rows.dtypes.to_dict()), target=data.train.target), json.loads(
        out.strip().splitlines()[-1]
    )


def ours(data: Dataset, seconds: float) -> tuple[Records, dict[str, float]]:
    """Return our rows and our clock; the budget leaves room for encoding and for what a budget cannot foresee."""
    begun = time.perf_counter()
    model = VAE(budget=0.85 * seconds, random_state=0).fit(data)
    fitted = time.perf_counter()
    fake = model.draw(len(data.train) + len(data.valid), random_state=1)
    return fake, {"fit": fitted - begun, "sample": time.perf_counter() - fitted, "steps": model.steps_}


def _checks(name: str, mine: dict[str, Result], peer: dict[str, Result], clocks: Any) -> Iterator[Check]:
    for key, words in QUESTIONS.items():
        a, b = mine[key].value, peer[key].value
        assert a is not None
        assert b is not None
        better = a < b if key == "auc" else a > b
        yield Check(f"{name}, {words}", f"better than TVAE's {b:.3f}", f"{a:.3f}", better)
    fit, theirs_ = clocks
    yield Check(
        f"{name}, seconds of fitting",
        f"at most {SHARE:.0%} of TVAE's {theirs_['fit']:.0f}",
        f"{fit['fit']:.0f}",
        fit["fit"] <= SHARE * theirs_["fit"],
    )


def run(*, quick: bool = False) -> Report:
    """Fit both on both tables and judge their rows."""
    checks: list[Check] = []
    details: dict[str, Any] = {}
    notes = []
    for name in ("abalone",) if quick else ("adult", "abalone"):
        data = table(name)
        yardstick = Yardstick(data, seed=0)
        fake, peer_clock = theirs(data, quick)
        rows, clock = ours(data, SHARE * peer_clock["fit"])
        judged = {"real": yardstick.real(), "ours": yardstick.judge(rows), "TVAE": yardstick.judge(fake)}
        checks += _checks(name, judged["ours"].metrics, judged["TVAE"].metrics, (clock, peer_clock))
        details[name] = {
            "clock": {"ours": clock, "TVAE": peer_clock},
            "scores": {k: {q: j.metrics[q].to_json() for q in QUESTIONS} for k, j in judged.items()},
        }
        real = {q: judged["real"].metrics[q].value for q in QUESTIONS}
        flags = {k: bool(j.copies and j.copies.flag) for k, j in judged.items()}
        notes.append(
            f"{name}: real held-out rows score "
            + ", ".join(f"{QUESTIONS[q]} {v:.3f}" for q, v in real.items() if v is not None)
            + f"; copies flagged: {flags}; n = {judged['ours'].n:,}."
        )
    notes.append(f"One seed each, defaults of both, {torch.get_num_threads()} threads.")
    return Report("Mixed tables, VAE beside ctgan's TVAE", checks, notes, details=details)
