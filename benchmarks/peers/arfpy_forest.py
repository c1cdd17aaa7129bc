"""An adversarial random forest by arfpy; runs in arfpy's environment: `arfpy_forest.py ROWS.csv TREES DRAWS OUT.csv`. Prints JSON."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time

import numpy as np
import pandas as pd
from arfpy import arf


def main(rows: str, trees: int, draws: int, out: str) -> None:
    """Fit the forest and its density with arfpy's defaults, draw records, write them."""
    np.random.seed(0)  # noqa: NPY002  (arfpy draws from the global generator)
    table = pd.read_csv(rows, keep_default_na=False)
    begun = time.perf_counter()
    model = arf.arf(x=table, num_trees=trees, verbose=False, random_state=0, n_jobs=2)
    grown = time.perf_counter()
    model.forde()
    fitted = time.perf_counter()
    drawn = model.forge(n=draws)
    seconds = {"grow": grown - begun, "density": fitted - grown, "fit": fitted - begun}
    found = {**seconds, "draw": time.perf_counter() - fitted, "version": importlib.metadata.version("arfpy")}
    drawn.to_csv(out, index=False)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
