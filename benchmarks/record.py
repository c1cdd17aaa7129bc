"""Where benchmarks find data, and how results are written down."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def data(name: str) -> Path:
    """Return the path of a data set below $GENLEARN_DATA; exit with the fix if it is not there."""
    root = os.environ.get("GENLEARN_DATA")
    path = Path(root or "") / name
    if not root or not path.exists():
        sys.exit(f"benchmarks: {name} not found. Set GENLEARN_DATA to the folder that holds it.")
    return path


def machine() -> dict[str, Any]:
    """Return what a figure depends on."""
    return {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "versions": {
            p: importlib.metadata.version(p) for p in ("genlearn", "torch", "numpy", "scikit-learn", "pandas")
        },
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def write(name: str, result: dict[str, Any]) -> Path:
    """Write `results/<name>.json` with the machine's facts."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**machine(), **result}, indent=1) + "\n")
    return path
