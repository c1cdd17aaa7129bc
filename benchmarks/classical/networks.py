"""Structures of Bayesian networks beside pgmpy and pyAgrum: seconds, scores, distance from the truth.

Chow-Liu trees on plants (train part of the twenty sets); greedy search by BIC on 10,000 rows of networks that pgmpy brings along,
sampled with seed 42, at most 3 parents, moves that add, remove and turn round an edge. Five repetitions after a warm-up, one after
the other, each with the columns in another order. The score of every learner's graph is computed here, on the same rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from genlearn.models import _bif
from genlearn.models._graphs import Parents, topological
from genlearn.models._structure import Search, learn, total

from .. import record
from ..checks import Check, Report

ROWS, SEED, MOST_PARENTS, REPETITIONS = 10_000, 42, 3, 5
OTHERS = ("child", "insurance", "hailfinder", "win95pts")


@dataclass
class Data:
    """Records of levels, and the graph they come from if it is known."""

    levels: np.ndarray
    sizes: list[int]
    truth: Parents | None = None

    def bic(self, parents: Parents) -> float:
        return total(self.levels, self.sizes, parents)


@dataclass
class Run:
    """Seconds of one search and the graph it found."""

    seconds: float
    parents: Parents


Learner = Callable[[int], Run]


def sampled(name: str, rows: int) -> Data:
    """Return rows of a network that pgmpy brings along."""
    script = record.HERE / "peers/pgmpy_networks.py"
    folder = subprocess.run([_python("pgmpy"), script, "--networks"], capture_output=True, text=True, check=True).stdout
    net = _bif.read(Path(json.loads(folder)) / f"{name}.bif.gz")
    rng = np.random.default_rng(SEED)
    levels = np.zeros((rows, len(net.names)), dtype=np.int32)
    for j in topological(net.parents):
        known = tuple(levels[:, p] for p in net.parents[j])
        table = net.tables[j][known] if known else np.broadcast_to(net.tables[j], (rows, len(net.states[j])))
        below = (table.cumsum(1) <= rng.random((rows, 1))).sum(1)
        levels[:, j] = np.minimum(below, table.shape[1] - 1)
    return Data(levels, [len(s) for s in net.states], net.parents)


def plants() -> Data:
    """Return the train part of plants."""
    levels = np.loadtxt(record.data("twenty/plants/train.csv.gz"), delimiter=",", dtype=np.int32)
    return Data(levels, [2] * levels.shape[1])


def ours(data: Data, search: Search) -> Learner:
    """Return our search, on one thread."""

    def run(seed: int) -> Run:
        order = np.random.default_rng(seed).permutation(len(data.sizes)).tolist()
        levels, sizes = np.ascontiguousarray(data.levels[:, order]), [data.sizes[j] for j in order]
        with threadpool_limits(1):
            begun = time.perf_counter()
            found = learn(levels, sizes, search=search, max_parents=MOST_PARENTS)
            seconds = time.perf_counter() - begun
        edges = [(order[p], order[c]) for c, own in enumerate(found) for p in own]
        return Run(seconds, _parents(edges, len(sizes)))

    return run


@contextmanager
def peer(name: str, data: Data, search: Search, *settings: int) -> Iterator[Learner]:
    """Give a peer's search, in a process of its own environment that has read the data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, levels=data.levels, sizes=data.sizes)
        command = [_python(name), str(record.HERE / f"peers/{name}_networks.py"), str(path), *map(str, settings)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None

            def run(seed: int) -> Run:
                print(search, seed, file=child.stdin, flush=True)
                assert child.stdout is not None
                found = json.loads(child.stdout.readline())
                return Run(found["seconds"], _parents(found["edges"], len(data.sizes)))

            yield run
            child.stdin.close()


def _python(name: str) -> str:
    python = record.HERE / f"peers/{name}/bin/python"
    if not python.exists():
        sys.exit(f"benchmarks: {name}'s environment is missing. Run benchmarks/peers/make.sh {name}")
    return str(python)


def _parents(edges: Any, d: int) -> Parents:
    return [tuple(sorted(a for a, b in edges if b == j)) for j in range(d)]


def alternate(learners: dict[str, Learner], repetitions: int) -> dict[str, list[Run]]:
    """Run everything once to warm up, then A B A B ...; a repetition has the same order of columns for all."""
    for run in learners.values():
        run(0)
    seen: dict[str, list[Run]] = {name: [] for name in learners}
    for seed in range(repetitions):
        for name, run in learners.items():
            seen[name].append(run(seed))
            print(f"  {name:28} {seen[name][-1].seconds:8.3f} s", flush=True)
    return seen


def pattern(parents: Parents) -> np.ndarray:
    """Return the completed partially directed graph of all equivalent graphs, `(d, d)`: `[i, j]` if i -> j or i - j."""
    d = len(parents)
    directed = np.zeros((d, d), dtype=bool)
    for child, own in enumerate(parents):
        directed[list(own), child] = True
    joined = directed | directed.T
    marks = joined.copy()
    for child, own in enumerate(parents):  # parents that are not joined point at their child in all equivalent graphs
        for a in own:
            if any(b != a and not joined[a, b] for b in own):
                marks[child, a] = False
    changed = True
    while changed:
        arrows, lines = marks & ~marks.T, marks & marks.T
        either = np.zeros_like(marks)
        for i, j in zip(*np.nonzero(lines), strict=True):
            new_collider = (arrows[:, i] & ~joined[:, j]).any()  # a -> i - j, a and j apart: i -> j
            new_cycle = (arrows[i] & arrows[:, j]).any()  # i -> a -> j: i -> j
            two = np.flatnonzero(lines[i] & arrows[:, j])  # i - a -> j, i - b -> j, a and b apart: i -> j
            apart = any(not joined[a, b] for a in two for b in two if a < b)
            either[i, j] = new_collider or new_cycle or apart
        changed = bool(either.any())
        marks &= ~either.T
    return marks


def distance(a: Parents, b: Parents) -> int:
    """Return the structural Hamming distance of two equivalence classes: pairs of columns that are joined differently."""
    differ = pattern(a) != pattern(b)
    return int(np.triu(differ | differ.T).sum())


def summary(data: Data, seen: dict[str, list[Run]]) -> dict[str, dict[str, Any]]:
    """Return seconds, mean score and mean distance of every learner."""
    out: dict[str, dict[str, Any]] = {}
    for name, runs in seen.items():
        out[name] = {"seconds": record.spread([r.seconds for r in runs])}
        scores = [data.bic(r.parents) for r in runs]
        out[name]["bic"] = record.spread(scores) | {"mean": mean(scores)}
        if data.truth is not None:
            out[name]["distance"] = mean(distance(r.parents, data.truth) for r in runs)
    return out


def words(found: dict[str, Any]) -> str:
    """Return one learner's figures in words."""
    seconds = f"{found['seconds']['median']:.3f} s, " if "seconds" in found else ""
    distance = f", distance {found['distance']:.1f}" if "distance" in found else ""
    return f"{seconds}BIC {found['bic']['mean']:,.1f}{distance}"


def faster(what: str, bar: float, us: list[Run], them: list[Run]) -> Check:
    """Compare seconds, ratio by ratio."""
    found = record.spread([b.seconds / a.seconds for a, b in zip(us, them, strict=True)])
    reached = f"{found['median']:.1f}x [{found['low']:.1f} {found['high']:.1f}]"
    return Check(what, f">= {bar:g}x", reached, found["median"] >= bar)


def better(what: str, data: Data, us: list[Run], them: list[Run]) -> Check:
    """Compare mean scores."""
    a, b = (mean(data.bic(r.parents) for r in runs) for runs in (us, them))
    return Check(what, "equal or better", f"{a:,.1f} against {b:,.1f}", a >= b - 1e-6 * abs(b))


def run(quick: bool = False) -> Report:
    """Time and score all learners."""
    rows, repetitions = (1000, 1) if quick else (ROWS, REPETITIONS)
    details: dict[str, Any] = {}
    checks: list[Check] = []
    with ExitStack() as stack:
        data = plants()
        if quick:
            data = Data(data.levels[:rows], data.sizes)
        theirs = stack.enter_context(peer("pgmpy", data, "chow-liu", 1))
        seen = alternate({"genlearn": ours(data, "chow-liu"), "pgmpy": theirs}, repetitions)
        details["plants, Chow-Liu"] = summary(data, seen)
        checks.append(faster("Chow-Liu on plants, pgmpy / genlearn", 50, seen["genlearn"], seen["pgmpy"]))
        checks.append(better("Chow-Liu on plants, BIC of the tree", data, seen["genlearn"], seen["pgmpy"]))
    for name in ("alarm", *OTHERS):
        checks += greedy(name, sampled(name, rows), repetitions, details)
    notes = [
        "Greedy search: at most 3 parents, BIC, edges added, removed and turned round, from the empty graph. "
        "Ours climbs again a dozen times or more after freeing some columns; pgmpy and pyAgrum run with their defaults.",
        "Seconds are those of the search; the data are in each learner's own form before. Ours and pgmpy's run on one thread.",
        "BIC in nats, computed here for all on the same rows; each repetition has another order of columns. Distances are structural "
        "Hamming distances between equivalence classes, to the network that the rows were drawn from.",
    ]
    for name, found in details.items():
        notes.append(f"{name}. {'; '.join(f'{learner}: {words(f)}' for learner, f in found.items())}.")
    return Report("Structures of Bayesian networks", checks, notes, [SEED, *range(repetitions)], details)


def greedy(name: str, data: Data, repetitions: int, details: dict[str, Any]) -> list[Check]:
    """Compare greedy searches on one network; pgmpy takes part on alarm only, since it takes minutes elsewhere."""
    with ExitStack() as stack:
        learners: dict[str, Learner] = {"genlearn": ours(data, "hill-climbing"), "genlearn, tabu": ours(data, "tabu")}
        for threads in (1, 2) if name == "alarm" else (1,):
            learners[f"pyAgrum, {threads} thread{'s' * (threads > 1)}"] = stack.enter_context(
                peer("pyagrum", data, "hill-climbing", MOST_PARENTS, threads)
            )
        learners["pyAgrum, tabu"] = stack.enter_context(peer("pyagrum", data, "tabu", MOST_PARENTS, 1))
        if name == "alarm":
            learners["pgmpy"] = stack.enter_context(peer("pgmpy", data, "hill-climbing", MOST_PARENTS))
        seen = alternate(learners, repetitions)
    us = seen["genlearn"]
    checks = []
    if name == "alarm":
        checks.append(faster("hill climbing on alarm, pgmpy / genlearn", 15, us, seen["pgmpy"]))
        for them in ("pyAgrum, 1 thread", "pyAgrum, 2 threads"):
            checks.append(faster(f"hill climbing on alarm, {them} / genlearn", 3, us, seen[them]))
        checks.append(better("hill climbing on alarm, BIC beside pgmpy", data, us, seen["pgmpy"]))
        checks.append(better("hill climbing on alarm, BIC beside pyAgrum", data, us, seen["pyAgrum, 1 thread"]))
    details[name] = summary(data, seen)
    if data.truth is not None:
        details[name]["the network itself"] = {"bic": {"mean": data.bic(data.truth)}}
    return checks
