"""Structures learned by pyAgrum; runs in pyAgrum's environment. Prints JSON lines.

`pyagrum_networks.py DATA.npz MAX_PARENTS THREADS`: the file holds `levels` (n, d) and `sizes`. Every line on
standard input, `SEARCH SEED`, runs one search on the columns in the order of that seed.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import pyagrum


def main(path: str, most: int, threads: int) -> None:
    """Answer every line on standard input with seconds and edges."""
    data = np.load(path)
    d = data["levels"].shape[1]
    for line in sys.stdin:
        search, seed = line.split()
        order = np.random.default_rng(int(seed)).permutation(d).tolist()
        table = pd.DataFrame({str(j): data["levels"][:, j].astype(str) for j in order})
        template = pyagrum.BayesNet()
        for j in order:
            template.add(pyagrum.LabelizedVariable(str(j), str(j), [str(k) for k in range(data["sizes"][j])]))
        # A learner keeps what it counted, so every run has its own; reading the data into it is not timed.
        learner = pyagrum.BNLearner(table, template)
        learner.setNumberOfThreads(threads)
        learner.useScoreBIC()
        learner.useNoPrior()
        learner.setMaxIndegree(most)
        if search == "tabu":
            learner.useLocalSearchWithTabuList()
        else:
            learner.useGreedyHillClimbing()
        begun = time.perf_counter()
        dag = learner.learnDAG()
        seconds = time.perf_counter() - begun
        name = {i: int(learner.nameFromId(i)) for i in range(d)}
        found = {"seconds": seconds, "edges": [[name[a], name[b]] for a, b in dag.arcs()]}
        print(json.dumps(found | {"version": pyagrum.__version__}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
