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

import platform
import shlex
import shutil
import sys
import tempfile
import time
import types
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__, store
from ..data.records import Dataset
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
        return _fill(wanted, Path(out), resume, watch)
    scratch = tempfile.mkdtemp(prefix="genlearn-")
    try:
        board = _fill(wanted, Path(scratch), resume, watch)
    except BaseException:
        shutil.rmtree(scratch)
        raise
    weakref.finalize(board, shutil.rmtree, scratch, ignore_errors=True)  # it lives as long as the board
    return board


def _fill(wanted: Plan, folder: Path, resume: bool, watch: Sequence[Watch]) -> Board:
    bench = Bench(wanted, folder, resume, watch)
    begun = time.monotonic()
    rows: list[Row] = []
    references: list[Row] = []
    skipped = list(wanted.skipped)
    interrupted = False
    try:
        references.append(Row(REAL, [bench.real()], reference=True))
        for entry in [*wanted.references, *wanted.candidates]:
            trials: list[Trial] = []
            try:
                for k in range(wanted.seeds):
                    trials.append(bench.trial(entry, k))
            except Unsuited as e:
                skipped.append({"name": entry.name, "reason": str(e)})
            finally:
                if trials:
                    (references if entry.reference else rows).append(Row(entry.name, trials, entry.reference))
    except KeyboardInterrupt:  # rows so far are worth a report; the rest goes on with resume
        interrupted = True
    facts, run = _facts(wanted.data, references), _circumstances(wanted, time.monotonic() - begun)
    board = Board(folder, facts, rows, references, skipped, run=run, interrupted=interrupted)
    store.write_json(folder / "report.json", board.to_json())
    return board


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

    program = Path(sys.argv[0]).name
    command = shlex.join(["genlearn", *sys.argv[1:]]) if program in ("genlearn", "__main__.py") else None
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
