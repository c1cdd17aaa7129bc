"""Many models, one yardstick: fit each, draw from each, judge all by the same held-out records, say which to keep.

A comparison is resumable: every finished pair of model and seed leaves `row-<seed>.json`, which a later run takes as it is
as long as settings, seed and data agree. What lies in the run folder is enough to rebuild the report.

| in the run folder | holds |
|---|---|
| `report.json`, `report.html` | all rows, references and the verdict, for programs and for people |
| `<model>/` | the fitted model (first seed), samples and other pictures, `row-<seed>.json` |
| `<model>/seed<k>/` | history, checkpoints while it is being fitted, the model of further seeds |
| `real/` | the row of real held-out data, and records to look at |
"""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import sys
import tempfile
import time
import types
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__, ranks, store
from ..data.records import Dataset
from ..lock import alone_in
from ..model import Model, Watch
from ..report.board import Board, leaderboard, leaderboard_table
from ..report.rows import REAL, Row, Trial
from .bench import Bench, Unsuited
from .planning import MOST_JUDGED, Entry, Plan, machine, plan

__all__ = ["Board", "Entry", "Plan", "compare", "leaderboard", "leaderboard_table", "plan"]


def compare(
    data: Any,
    models: Sequence[str | Model] | str | None = None,
    *,
    target: str | None = None,
    label: Any = None,
    budget: float | str | None = None,
    steps: int | None = None,
    seeds: int = 1,
    out: str | Path | None = None,
    resume: bool = True,
    watch: Sequence[Watch] = (),
    random_state: int = 0,
    device: str | None = None,
) -> Board:
    """Fit several models on the same records and say which to keep.

    Every model learns from the train part; `n = min(test, valid, 5000)` records are drawn from each and judged against the
    test part. References are always among the rows: real held-out data (the best reachable), marginals, a kernel density
    estimate and a copycat (which must be flagged). A model that fails is a row with the cause.

    Arguments:
        data: A `Dataset`, a path, a DataFrame, an array, images: what `genlearn.read` takes. A `Plan` holds all but the rest.
        models: Names or configured models; None for all.
        target: Column to be predicted; makes the metric "useful" possible and conditions the models.
        label: Labels of images, as in `genlearn.read`.
        budget: Time per neural model and seed, in seconds or as "5m".
        steps: Training steps per neural model and seed, instead of a budget.
        seeds: Fits per model.
        out: Run folder; None keeps nothing after the board is gone.
        resume: Take finished rows from `out` and go on with the rest.
        watch: Callables that receive the `Event` of every fit.
        random_state: Seed of the first fit; the others count up.
        device: Where neural models are trained.

    Errors:
        Problem: If a name, a setting or the data is wrong.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(120, 2))
        >>> board = compare(x, ["gmm"])
        >>> [row.name for row in board.rows]
        ['gmm']
    """
    if not isinstance(data, Plan):
        data = plan(
            data, models, target=target, label=label, budget=budget, steps=steps, seeds=seeds, random_state=random_state, device=device
        )  # fmt: skip
    return _run(data, out, resume, watch)


def _run(wanted: Plan, out: str | Path | None, resume: bool, watch: Sequence[Watch]) -> Board:
    if out is not None:
        with alone_in(out, "compare"):
            return _fill(wanted, Path(out), resume, watch)
    ranks.start()
    (scratch, *_) = ranks.texts(tempfile.mkdtemp(prefix="genlearn-") if ranks.is_first() else "")
    try:
        board = _fill(wanted, Path(scratch), resume, watch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=not ranks.is_first())
        raise
    if ranks.is_first():
        weakref.finalize(board, shutil.rmtree, scratch, ignore_errors=True)  # it lives as long as the board
    return board


def _fill(wanted: Plan, folder: Path, resume: bool, watch: Sequence[Watch]) -> Board:
    begun = time.monotonic()
    with ranks.apart() as (number, count):  # no fit depends on another: processes share them out
        bench = Bench(wanted, folder, resume, () if number else watch)
        entries = [*wanted.references, *wanted.candidates]
        found = _judged(bench, entries[number::count], real=number == 0)
    found = found.of_all()
    rows = [Row(e.name, found.trials[e.name], e.reference) for e in entries if e.name in found.trials]
    if REAL in found.trials:
        rows.insert(0, Row(REAL, found.trials[REAL], reference=True))
    references = [row for row in rows if row.reference]
    facts, run = _facts(wanted.data, references), _circumstances(wanted, time.monotonic() - begun)
    board = Board(
        folder, facts, [row for row in rows if not row.reference], references, [*wanted.skipped, *found.skipped],
        run=run, interrupted=found.stop,
    )  # fmt: skip
    with ranks.first_does(f"board {folder}") as writes:
        if writes:
            store.write_json(folder / "report.json", board.to_json())
    return board


@dataclass
class _Found:
    """What came of entries: trials by the name of their row, those that cannot take the data, and what stopped the rest."""

    trials: dict[str, list[Trial]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None

    def of_all(self) -> _Found:
        """Return what came of the entries of all processes."""
        if ranks.world() == 1:
            return self
        trials = {name: [t.to_json() for t in row] for name, row in self.trials.items()}
        own = {"trials": trials, "skipped": self.skipped, "stopped": self.stop is not None}
        together = _Found(stop=self.stop)
        for found in map(json.loads, ranks.texts(json.dumps(store.to_jsonable(own)))):
            together.trials |= {name: [Trial.from_json(t) for t in row] for name, row in found["trials"].items()}
            together.skipped += found["skipped"]
            together.stop = together.stop or (KeyboardInterrupt() if found["stopped"] else None)
        return together


def _judged(bench: Bench, entries: Sequence[Entry], *, real: bool) -> _Found:
    """Fit and judge some entries, and real data where that is wanted."""
    found = _Found()
    try:
        if real:
            found.trials[REAL] = [bench.real()]
        for entry in entries:
            try:
                for k in range(bench.plan.seeds):
                    trial = bench.trial(entry, k)
                    found.trials.setdefault(entry.name, []).append(trial)
            except Unsuited as e:
                found.skipped.append({"name": entry.name, "reason": str(e)})
    except KeyboardInterrupt as stop:  # rows so far are worth a report; the rest goes on with resume
        found.stop = stop
    return found


# -- what is known about a run -----------------------------------------------------------------------------------------
def _facts(data: Dataset, references: Sequence[Row]) -> dict[str, Any]:
    useful = next((row.metrics["useful"].note for row in references if "useful" in row.metrics), "")
    return {
        "name": data.name, "summary": data.summary, "modality": data.modality, "target": data.target, "notes": list(data.notes),
        "split": data.split_id, "train": len(data.train), "valid": len(data.valid), "test": len(data.test),
        "n": min(len(data.test), len(data.valid), MOST_JUDGED), "useful": useful.split(";")[0],
    }  # fmt: skip


def _circumstances(wanted: Plan, seconds: float) -> dict[str, Any]:
    from importlib.metadata import version

    program = Path(sys.argv[0])
    ours = program.name == "genlearn" or program.parts[-2:] == ("genlearn", "__main__.py")
    command = shlex.join(["genlearn", *sys.argv[1:]]) if ours else None
    packages = {p: version(p) for p in ("torch", "numpy", "scikit-learn")}
    return {
        "command": command, "date": time.strftime("%Y-%m-%d %H:%M"), "seconds": round(seconds, 1), "plan": str(wanted),
        "seeds": wanted.seeds, "random_state": wanted.random_state, **wanted.options,
        "machine": machine(wanted.options.get("device")),
        "versions": {"genlearn": __version__, "python": platform.python_version(), **packages},
    }  # fmt: skip


class _CallableModule(types.ModuleType):
    """`genlearn.compare` is this module once it is imported, and the function before: calling either compares."""

    def __call__(self, *args: Any, **kwargs: Any) -> Board:
        return compare(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
