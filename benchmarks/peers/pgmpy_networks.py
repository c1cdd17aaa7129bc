"""Structures learned by pgmpy; runs in pgmpy's environment. Prints JSON lines.

`pgmpy_networks.py DATA.npz MAX_PARENTS`: the file holds `levels` (n, d) and `sizes`. Every line on standard
input, `SEARCH SEED`, runs one search on the columns in the order of that seed.
`pgmpy_networks.py --networks` prints where pgmpy's bundled networks lie.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pgmpy


def hill_climbing(table: pd.DataFrame, most: int) -> list[tuple[str, str]]:
    """Greedy search by BIC, pgmpy's defaults otherwise (a list of 100 moves that are not undone)."""
    from pgmpy.causal_discovery import HillClimbSearch

    search = HillClimbSearch(scoring_method="bic-d", max_indegree=most, return_type="dag", show_progress=False)
    return list(search.fit(table).causal_graph_.edges())


def chow_liu(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The tree of largest mutual information."""
    from pgmpy.estimators import TreeSearch

    return list(TreeSearch(table, n_jobs=1).estimate("chow-liu", show_progress=False).edges())


def main(path: str, most: int) -> None:
    """Answer every line on standard input with seconds and edges."""
    data = np.load(path)
    d = data["levels"].shape[1]
    for line in sys.stdin:
        search, seed = line.split()
        order = np.random.default_rng(int(seed)).permutation(d).tolist()
        table = pd.DataFrame({str(j): data["levels"][:, j] for j in order})
        if search != "chow-liu":  # the score counts declared levels, whether they occur or not
            for j in order:
                table[str(j)] = pd.Categorical(table[str(j)], categories=range(data["sizes"][j]))
        begun = time.perf_counter()
        edges = chow_liu(table) if search == "chow-liu" else hill_climbing(table, most)
        seconds = time.perf_counter() - begun
        found = {"seconds": seconds, "edges": [[int(a), int(b)] for a, b in edges], "version": pgmpy.__version__}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--networks":
        print(json.dumps(str(Path(pgmpy.__file__).parent / "utils/example_models")))
    else:
        main(sys.argv[1], int(sys.argv[2]))
