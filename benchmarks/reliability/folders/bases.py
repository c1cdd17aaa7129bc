"""Good model folders to begin from: every registered model on a table of all kinds of columns and on images."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genlearn.model import model_class, model_names

SMALL: dict[str, dict[str, Any]] = {
    "gmm": {"components": 3, "max_iter": 5},
    "vae": {"latent": 2, "hidden": (6,), "steps": 2, "width": 4},
    "hvae": {"latent": (2, 2), "hidden": (4, 4), "width": 4, "channels": 1, "rungs": (1, 1), "steps": 2},
    "gan": {"latent": 2, "hidden": (6,), "steps": 2, "width": 4},
    "vaegan": {"latent": 2, "hidden": (6,), "steps": 2, "width": 4},
    "autoencoder": {"latent": 2, "hidden": (6,), "steps": 2, "width": 4, "components": 2},
    "vqvae": {"entries": 4, "dim": 2, "hidden": (6,), "steps": 2, "width": 4, "prior_width": 4, "prior_layers": 1},
    "marginals": {"bins": 6},
}


def table(n: int = 60) -> pd.DataFrame:
    """Return a table with a column of every kind: numbers, counts, atoms, missing cells, dates, zones, ids, texts, labels."""
    rng = np.random.default_rng(0)
    income = rng.lognormal(8, 1, n).round(2)
    income[::3] = 0.0
    income[1::7] = np.nan
    moments = pd.Timestamp("2021-03-04", tz="Europe/Berlin") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="min")
    columns: dict[str, Any] = {
        "age": rng.integers(18, 90, n),
        "income": income,
        "height": rng.normal(170, 9, n),
        "when": moments,
        "day": pd.Series(pd.date_range("2020-01-01", periods=n)).dt.strftime("%d.%m.%Y"),
        "size": pd.Categorical(rng.choice(["S", "M", "L"], n), categories=["S", "M", "L", "XL"], ordered=True),
        "city": rng.choice(["Bern", "Genf", "Ürümqi"], n),
        "member": rng.random(n) < 0.5,
        "grade": pd.Series(rng.integers(1, 6, n)).astype("Int64").mask(rng.random(n) < 0.2),
        "person_id": [f"P{i:05d}" for i in range(n)],
        "remark": [f"no {i} in {rng.random():.6f}" for i in range(n)],
        "churn": rng.choice(["no", "yes"], n),
    }
    return pd.DataFrame(columns)


def images(channels: int, n: int = 24, side: int = 8) -> np.ndarray:
    """Return `(n, side, side[, channels])` images of blobs."""
    rng = np.random.default_rng(1)
    shape = (n, side, side) if channels == 1 else (n, side, side, channels)
    return rng.integers(0, 256, shape).astype(np.uint8)


def sources() -> dict[str, tuple[Any, Any]]:
    """Return records and labels by name."""
    two = (images(1) > 127).astype(np.uint8) * 255
    words = np.array(["cat", "dog", "eel"])[np.arange(24) % 3]
    return {
        "table": (table(), None),
        "matrix": (np.random.default_rng(2).normal(size=(40, 3)), np.arange(40) % 3),
        "grey": (images(1), None),
        "colour": (images(3), words),
        "binary": (two, None),
        "codes": (pd.DataFrame({"code": [f"c{i % 300:03d}" for i in range(900)], "x": np.arange(900) ** 0.5}), None),
    }


def write(folder: Path, wanted: Collection[str] | None = None) -> list[Path]:
    """Write a folder `model-source` for every model and source, or those wanted, and return them."""
    written = []
    for name in model_names():
        for source, (x, y) in sources().items():
            if wanted is not None and f"{name}-{source}" not in wanted:
                continue
            settings: dict[str, Any] = SMALL.get(name, {})
            if source == "colour" and "width" in settings:
                settings = {**settings, "net": "conv"}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = model_class(name)(**settings, random_state=0).fit(x, y)
            written.append(model.save(folder / f"{name}-{source}"))
    return written
