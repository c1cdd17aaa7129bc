"""Several processes as one: the same models, runs that go on with another number, two machines' launchers, and what a second one gains.

    python -m benchmarks.reliability processes

Launches are real ones of `torchrun`. Speed needs a machine without other work.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from genlearn.engine import Neural
from genlearn.models import GAN, VAE

from .. import record
from ..checks import Check, Report
from . import together
from .together import BATCH, CASES, CLOSED, NETS, RESUMED, SUMS, distance

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
REPETITIONS = 3


@dataclass(frozen=True)
class Race:
    """What is timed: a model, its settings, records of a shape with so many levels, and as many records in all for any processes."""

    model: type[Neural]
    settings: dict[str, Any]
    shape: tuple[int, ...]
    levels: int
    batch: int
    steps: int


DCGAN = {"latent": 100, "width": 64, "net": "conv", "regularizer": "none", "lr": 2e-4}
SPEED = {
    "VAE, MLP 784-400-20": Race(VAE, {"latent": 20, "hidden": (400,), "net": "mlp"}, (28, 28), 2, 128, 600),
    "VAE, conv, 32x32 colour": Race(VAE, {"net": "conv"}, (32, 32, 3), 256, 128, 40),
    "DCGAN, 32x32 grey, width 64": Race(GAN, DCGAN, (32, 32), 256, 64, 24),
}
WAYS = {"1 process, 1 thread": (1, 1), "2 processes, 1 thread each": (2, 1), "1 process, 2 threads": (1, 2)}


# -- launching ---------------------------------------------------------------------------------------------------------
def launch(
    words: Sequence[str], *, processes: int = 2, agents: int = 1, threads: int = 1
) -> list[tuple[int, str, str]]:
    """Run a script in several processes; return exit code, stdout and stderr of every launcher.

    Arguments:
        words: A script, or `-m` and a module, and its arguments.
        processes: How many in all.
        agents: Launchers, as for so many machines; all are here, and meet on the loopback interface.
        threads: Of every process.
    """
    how = ["--standalone", "--nproc-per-node", str(processes)]
    if agents > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        how = ["--nnodes", str(agents), "--nproc-per-node", str(processes // agents), "--rdzv-backend", "c10d"]
        how += ["--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "genlearn", "--local-addr", "127.0.0.1"]
    path = os.pathsep.join([str(record.HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"}
    started = [
        subprocess.Popen(
            [*TORCHRUN, *how, *([] if agents == 1 else ["--node-rank", str(i)]), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        )
        for i in range(agents)
    ]  # fmt: skip
    return [(p.returncode, out, err) for p in started for out, err in [p.communicate(timeout=600)]]


def succeeded(done: list[tuple[int, str, str]]) -> None:
    """Raise what a launch said, unless all of it went well and nobody printed."""
    for code, out, err in done:
        if code or out:
            raise AssertionError(f"exit {code}: {out}\n{err[-3000:]}")


# -- the same models ---------------------------------------------------------------------------------------------------
def apart(folder: Path, name: str) -> float:
    """Return how far the model that two processes fitted is from that of one, with as many records per step."""
    case = CASES[name]
    return distance(case.fit(2 * BATCH), case.model.load(folder / name))


def handed_on(folder: Path, name: str) -> tuple[float, float]:
    """Return how far from an uninterrupted run those are that one process began and two ended, and the reverse."""
    case, straight = CASES[name], CASES[name].fit(2 * BATCH)
    ended_by_two = case.model.load(folder / f"{name}, begun by one")
    ended_by_one = case.fit(BATCH, out=folder / f"{name}, begun by two", resume=True)
    return distance(straight, ended_by_two), distance(straight, ended_by_one)


def same_models(folder: Path) -> list[Check]:
    """Compare all that two processes fit to what one does; hand runs on; meet from two launchers."""
    together.prepare(folder)
    succeeded(launch(["-m", together.__name__, str(folder)]))
    checks = []
    for title, cases in (("trained nets", NETS), ("sums of EM", SUMS), ("closed forms", CLOSED)):
        found = {name: apart(folder, name) for name in cases}
        missed = [name for name, d in found.items() if d > cases[name].bar]
        worst = max(found, key=lambda name: found[name] / max(CASES[name].bar, 1e-300))
        bars = ", ".join(f"{bar:g}" for bar in sorted({c.bar for c in cases.values()}))
        what = f"2 processes x batch {BATCH} against 1 x {2 * BATCH}: {len(cases)} {title}"
        reached = f"{len(cases) - len(missed)} of {len(cases)}, nearest to its bar: {worst}, {found[worst]:.1e}"
        checks.append(Check(what, f"apart by at most {bars}", reached, not missed))
    for name in RESUMED:
        worse = max(handed_on(folder, name))
        bar = CASES[name].bar
        checks.append(Check(f"{name}: handed on, 1 to 2 processes and back", f"{bar:g}", f"{worse:.1e}", worse <= bar))
    refused = {p.read_text() for p in (folder / "odd").glob("refusal-*")}
    text = f"this run takes {together.ODD} records per step, which 2 processes cannot share evenly. " \
           f"Start a number that divides {together.ODD}."  # fmt: skip
    checks.append(Check("a global batch that two cannot share", "one line", " / ".join(refused), refused == {text}))
    return checks


def two_agents(folder: Path, name: str = "vae, table") -> Check:
    """Fit one case from two launchers that meet on loopback, and from one."""
    for agents in (1, 2):
        succeeded(launch(["-m", together.__name__, str(folder / str(agents)), name], agents=agents))
    one, two = (CASES[name].model.load(folder / str(agents) / name) for agents in (1, 2))
    equal = torch.equal(together.weights(one.net_), together.weights(two.net_))
    return Check(f"two torchrun agents on loopback against one: {name}", "the same bits", str(equal), equal)


# -- speed -------------------------------------------------------------------------------------------------------------
def train(kind: str, processes: int) -> float:
    """Return records per second of one fit by this process and the others."""
    race = SPEED[kind]
    x = np.random.default_rng(0).integers(0, race.levels, (4096, *race.shape)) * (255 // (race.levels - 1))
    batch = race.batch // processes
    fitted: Any = race.model(**race.settings, batch=batch, steps=race.steps, random_state=0).fit(x.astype(np.uint8))
    return race.batch * race.steps / fitted.seconds_


def rates(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return records per second, by kind and way, in turn."""
    seen: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in WAYS} for kind in SPEED}
    for _ in range(REPETITIONS):
        for kind, ways in seen.items():
            for way, (processes, threads) in WAYS.items():
                file = folder / "rate.json"
                done = launch(["-m", __name__, kind, str(processes), str(file)], processes=processes, threads=threads)
                succeeded(done)
                ways[way].append(json.loads(file.read_text()))
    return seen


def speed_checks(seen: dict[str, dict[str, list[float]]]) -> list[Check]:
    """Print what a second process gains, by medians."""
    checks = []
    for kind, ways in seen.items():
        one, two, threads = (median(ways[way]) for way in WAYS)
        reached = (
            f"{one:,.0f} records/s by 1 process, {two:,.0f} by 2: {two / one:.2f}x, efficiency {two / one / 2:.0%}; "
            f"1 process with 2 threads {threads:,.0f} ({threads / one:.2f}x)"
        )
        checks.append(Check(f"{kind}, two processes", "faster than one", reached, two > one))
    return checks


def run(*, quick: bool = False) -> Report:
    """Check all; `quick` leaves out speed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checks = [*same_models(folder / "cases"), two_agents(folder / "agents")]
        seen = {} if quick else rates(folder)
    notes = [
        "Apart: of nets, the distance of the weights as a share of the way they went from their start; of others, relative.",
        f"Speed is the median of {REPETITIONS} alternating runs, as many records per step in all, on the cores that the "
        "machine facts of this file count; two processes share the memory and, over loopback, the gradients.",
    ]
    return Report(
        "Several processes as one", [*checks, *speed_checks(seen)], notes, details={"records_per_second": seen}
    )


if __name__ == "__main__":
    rate = train(sys.argv[1], int(sys.argv[2]))
    if os.environ["RANK"] == "0":
        Path(sys.argv[3]).write_text(json.dumps(rate))
