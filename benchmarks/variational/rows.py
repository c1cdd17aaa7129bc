"""Long trainings as rows of a table: each has a budget of processor minutes, can be stopped at any moment, and goes on where it was.

    GENLEARN_SLICE=20 python -m benchmarks.variational dynamic

trains every row for at most 20 minutes and reports how far it came; without the variable all rows are trained to the end.
Checkpoints lie in `benchmarks/runs`. The budget is stated for 2 cores, and counted in processor time, so that it means the same
with one thread or two.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genlearn.data.records import Dataset, Records
from genlearn.engine import Neural
from genlearn.errors import Interrupted
from genlearn.events import Event

from .. import record
from ..checks import Check

RUNS = record.HERE / "runs"
CLOCK = "Rows are trained in slices: their minutes stand beside them, and the seconds above are those of the last call alone."
SAMPLES = 5000  # of the importance-weighted score, as in the literature


@dataclass(frozen=True)
class Row:
    """A training with its bar.

    Arguments:
        name: What it is called, also its folder.
        model: The model, not fitted.
        minutes: What the training may take on 2 cores; half of the processor minutes.
        bar: Negative log-likelihood to be reached, nats; None for a row that is only shown.
        samples: Importance samples of its score; fewer give a looser bound, never a better one.
    """

    name: str
    model: Neural
    minutes: float
    bar: float | None = None
    samples: int = SAMPLES


@dataclass
class State:
    """How far a row is.

    Arguments:
        steps: Steps done.
        planned: Steps planned.
        processor: Processor minutes taken by training so far, also those that a stop lost.
        wall: Minutes by the clock.
        threads: Threads that it was trained with.
        curve: Minutes on 2 cores (half of the processor minutes) and the training bound in nats, about 25 points.
        nll: Negative log-likelihood of the test part, nats; None before the end.
    """

    steps: int = 0
    planned: int = 0
    processor: float = 0.0
    wall: float = 0.0
    threads: int = 0
    curve: list[list[float]] | None = None
    nll: float | None = None


def trained(row: Row, suite: str, train: Records | Dataset, test: Records) -> State:
    """Train a row to its end, or for as long as a slice lasts, score it once it is finished, and return how far it is."""
    folder = RUNS / suite / row.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "row.json"
    state = State(**json.loads(kept.read_text())) if kept.exists() else State(curve=[])
    if state.nll is None and (limit := _slice()) > 0:
        clock = _Clock(state, kept)
        try:
            with _stopped_after(60 * limit):
                row.model.fit(train, out=folder, resume=True, watch=[clock])
        except Interrupted:
            print(f"  {row.name}: stopped at {state.steps:,} of {state.planned:,} steps", flush=True)
            return state
        row.model.save(folder / "model")
        state.nll = round(-row.model.set_params(samples=row.samples).score(test), 4)
        _keep(state, kept)
        print(f"  {row.name}: {state.nll:.2f} nats, {state.processor:.0f} processor minutes", flush=True)
    return state


def checks(rows: Sequence[Row], states: Sequence[State]) -> Iterator[Check]:
    """Yield a check for every row."""
    for row, state in zip(rows, states, strict=True):
        bar = f"nll at most {row.bar} within {row.minutes:.0f} min on 2 cores" if row.bar else "shown"
        if state.nll is None:
            share = state.steps / state.planned if state.planned else 0.0
            last = f", training bound {state.curve[-1][1]:.2f}" if state.curve else ""
            yield Check(row.name, bar, f"not finished: {share:.0%} of the steps{last}", met=False)
            continue
        timely = state.processor <= 2 * row.minutes
        clock = f"{state.processor:.0f} processor minutes ({state.threads} thread(s), {state.wall:.0f} by the clock)"
        words = f"{state.nll:.2f} ({row.samples:,} samples) in {clock}"
        yield Check(row.name, bar, words, met=timely and (row.bar is None or state.nll <= row.bar))


def _slice() -> float:
    return float(os.environ.get("GENLEARN_SLICE", "inf"))


class _Clock:
    """Counts processor time and draws the curve while a row is trained; a watcher of the fit."""

    def __init__(self, state: State, file: Path) -> None:
        self.state, self.file = state, file
        self.begun = time.process_time(), time.monotonic()
        self.before = state.processor, state.wall

    def __call__(self, event: Event) -> None:
        s = self.state
        s.processor = self.before[0] + (time.process_time() - self.begun[0]) / 60
        s.wall = self.before[1] + (time.monotonic() - self.begun[1]) / 60
        s.steps, s.planned, s.threads = event.step, event.steps or 0, torch.get_num_threads()
        s.curve = s.curve or []
        if "nats" in event.values and event.step > len(s.curve) / 25 * s.planned:
            s.curve.append([round(s.processor / 2, 2), round(event.values["nats"], 3)])
        _keep(s, self.file)


def _keep(state: State, file: Path) -> None:
    aside = file.with_suffix(".tmp")
    aside.write_text(json.dumps(vars(state)))
    aside.replace(file)


@contextmanager
def _stopped_after(seconds: float) -> Iterator[None]:
    """Stop a fit as Ctrl-C does, after a while."""
    if seconds == float("inf"):
        yield
        return
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def details(rows: Sequence[Row], states: Sequence[State]) -> dict[str, Any]:
    """Return settings, curve and clock of every row."""
    return {row.name: {"model": str(row.model), **vars(state)} for row, state in zip(rows, states, strict=True)}
