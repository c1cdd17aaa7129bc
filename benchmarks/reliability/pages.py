"""Reports of large tables: how large the page is, how long it takes, and whether a browser finds fault with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import Check, Report

ROWS, QUICK_ROWS = 1_000_000, 100_000
MOST_BYTES = 3_000_000
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


def chromium() -> str | None:
    """Return the path of Chromium: `$CHROMIUM`, or what the machine has."""
    return os.environ.get("CHROMIUM") or next((path for name in PROGRAMS if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """Run the machine's Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


def violations(page: Any) -> list[str]:
    """Return what the axe rules of WCAG 2.2 A and AA, and good practice, find wrong with an open page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": list(RULES)}}).response["violations"]
    return [f"{v['id']}: {v['help']}, {len(v['nodes'])} places, first {v['nodes'][0]['target']}" for v in found]


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return 20 columns that depend on each other: 12 numbers, 3 counts, 3 categories, a date, a column with missing cells."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 3))
    mixed = hidden @ rng.normal(size=(3, 12)) + 0.5 * rng.normal(size=(rows, 12))
    frame = pd.DataFrame(mixed, columns=[f"number {j}" for j in range(12)])
    for j in range(3):
        frame[f"count {j}"] = rng.poisson(np.exp(0.5 * hidden[:, j] + 1))
        frame[f"kind {j}"] = np.array(list("abcdefgh"))[np.digitize(hidden[:, j], [-1.5, -1, -0.5, 0, 0.5, 1, 1.5])]
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, rows), unit="D")
    frame["holes"] = np.where(rng.random(rows) < 0.2, np.nan, mixed[:, 0])
    return frame


def report_of(rows: int, folder: Path) -> Path:
    """Fit quick models to a large table and return the report of their comparison."""
    import genlearn
    from genlearn.models import GMM

    data = genlearn.read(table(rows))
    return genlearn.compare(data, [GMM(components=2, max_iter=3)], out=folder).report()


def run(*, quick: bool = False) -> Report:
    """Write the report of a million rows and let a browser judge it."""
    rows = QUICK_ROWS if quick else ROWS
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        written = report_of(rows, Path(folder))
        seconds, size, faults = time.process_time() - begun, written.stat().st_size, []
        with browser() as chrome:
            for scheme in ("light", "dark"):
                for width in (1280, 360):
                    page = chrome.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
                    page.goto(written.as_uri())
                    faults += [f"{scheme}, {width} px: {fault}" for fault in violations(page)]
                    page.close()
    what = f"{rows:,} rows x 20 columns"
    checks = [
        Check(f"size of the page, {what}", "<= 3 MB", f"{size / 1e6:.2f} MB", size <= MOST_BYTES),
        Check(f"axe violations, {what}, light and dark, 1280 and 360 px", "0", str(len(faults)), not faults),
    ]
    notes = [
        f"Read, fitted (gmm, and kde, marginals, copycat as references), judged and written in {seconds:.0f} s of processor time.",
        "Drawings are made of bins and quantiles of the test part, so the page does not grow with the data.",
        f"Rules: axe, tags {', '.join(RULES)}.",
    ]
    return Report(
        "Reports of large tables", checks, notes, details={"bytes": size, "seconds": seconds, "faults": faults}
    )
