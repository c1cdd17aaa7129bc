"""Fit ctgan's TVAE with its defaults on a CSV and sample as many rows; runs in ctgan's environment.

    python ctgan_tables.py train.csv fake.csv SEED CATEGORICAL,COLUMNS [EPOCHS]

Prints one JSON line: seconds of fitting and sampling, rows.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import torch
from ctgan import TVAE


def main(path: str, out: str, seed: str, discrete: str, epochs: str = "300") -> None:
    """Fit, sample, write."""
    np.random.seed(int(seed))  # noqa: NPY002 (ctgan draws from it)
    torch.manual_seed(int(seed))
    train = pd.read_csv(path, keep_default_na=False)
    model = TVAE(epochs=int(epochs), enable_gpu=False)
    begun = time.perf_counter()
    model.fit(train, discrete.split(","))
    fitted = time.perf_counter()
    fake = model.sample(len(train))
    sampled = time.perf_counter()
    fake.to_csv(out, index=False)
    print(json.dumps({"fit": fitted - begun, "sample": sampled - fitted, "rows": len(train)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
