"""Write the golden model folders of this version: `python -m tests.golden.make`.

One small folder for each model and kind of records, with `expected.json` beside its files: five records, their scores and latent
codes, and what a seed draws. `tests/test_folders.py` loads all of every version, so that what was saved once stays readable.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import genlearn
from benchmarks.reliability.folders import bases
from genlearn.capabilities import Encodes, Scores
from genlearn.model import Model, model_names

HERE = Path(__file__).parent
EXPECTED = "expected.json"
IMAGES = {
    "grey": ("autoencoder", "gmm", "hvae", "kde", "vae", "vqvae"),
    "colour": ("copycat", "gan", "gmm", "vae", "vaegan"),
}
SEED, COUNT = 7, 5


def plain(records: Any) -> Any:
    """Return records as JSON holds them: columns of a table, nested lists of an image; no number for a missing cell."""
    if isinstance(records, pd.DataFrame):
        return {
            name: [None if pd.isna(v) else v for v in column.tolist()] for name, column in records.map(_cell).items()
        }
    return records.tolist()


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or pd.isna(value) else str(value)


def records_of(found: Any) -> Any:
    """Undo `plain`."""
    return pd.DataFrame(found) if isinstance(found, dict) else np.array(found, dtype=np.uint8)


def answers(model: Model, records: Any) -> dict[str, Any]:
    """Return what a model says of records: scores in nats, latent codes, where it gives them."""
    said: dict[str, Any] = {}
    if isinstance(model, Scores):
        said["scores"] = model.log_prob(records).tolist()
    if isinstance(model, Encodes):
        said["latents"] = model.encode(records).tolist()
    return said


def draws(model: Model) -> Any:
    """Return what the seed draws, as JSON holds it."""
    return plain(model.sample(COUNT, random_state=SEED))


def main() -> None:
    """Write the folder of this version anew."""
    torch.set_num_threads(1)
    folder = HERE / genlearn.__version__
    shutil.rmtree(folder, ignore_errors=True)
    wanted = [f"{name}-table" for name in model_names()] + [
        f"{n}-{kind}" for kind, each in IMAGES.items() for n in each
    ]
    for path in bases.write(folder, wanted):
        (path / "README.md").unlink()  # the card is for people
        x = bases.sources()[path.name.partition("-")[2]][0]
        records = plain(x[:COUNT])
        model = genlearn.load(path)
        expected = {"records": records, **answers(model, records_of(records)), "draws": draws(model)}
        (path / EXPECTED).write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
