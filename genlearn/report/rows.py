"""Rows of a comparison: what one model with one seed achieved, and the mean over seeds with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

from ..metrics import Result
from ..metrics.intervals import jackknife_variance

REAL = "real data"


@dataclass
class Trial:
    """One model fitted with one seed, judged once; what `row-<seed>.json` stores.

    Arguments:
        model: Name of the row.
        seed: Number of the repetition, from 0.
        key: Hash of the settings, the seed and the data: a trial is used again only while it agrees.
        kind: What the score is: `exact`, `bound`, `estimate`; None without a likelihood.
        measure: Hash of the measure of the scores.
        metrics: Results by metric name.
        copies: Outcome of the copy test: `flag`, `p_value`, `duplicates`, `note`, ...
        cost: `seconds`, `steps`, `parameters`, `samples_per_second`, `peak_memory_mb`.
        settings: The configuration of the model.
        notes: What the codec did to the records.
        remarks: What the judge noticed, one sentence each.
        columns: Distributions of table columns, for pictures.
        exhibits: Table rows to look at; images lie beside as PNG.
        error: Why there are no numbers.
        reference: A yardstick rather than a candidate.
    """

    model: str
    seed: int = 0
    key: str = ""
    kind: str | None = None
    measure: str | None = None
    metrics: dict[str, Result] = field(default_factory=dict)
    copies: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float | None] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    exhibits: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    reference: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return everything, block values of the metrics included."""
        spec = {k: v for k, v in vars(self).items() if k != "metrics"}
        return {**spec, "metrics": {k: asdict(r) for k, r in self.metrics.items()}}

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> Trial:
        """Undo `to_json`."""
        metrics = {}
        for name, r in spec["metrics"].items():
            blocks = None if r.get("blocks") is None else np.asarray(r["blocks"], dtype=float)
            metrics[name] = Result(**{**r, "blocks": blocks})
        return cls(**{**spec, "metrics": metrics})


@dataclass
class Row:
    """One line of the leaderboard: a model over all its seeds.

    Arguments:
        name: Name of the model in this comparison.
        trials: One per seed, in order; failed ones included.
        reference: A yardstick (real data, marginals, copycat, ...) rather than a candidate.
    """

    name: str
    trials: list[Trial]
    reference: bool = False

    @cached_property
    def good(self) -> list[Trial]:
        """The trials that have numbers."""
        return [t for t in self.trials if t.error is None]

    @property
    def error(self) -> str | None:
        """The cause, if every trial failed."""
        return None if self.good else self.trials[0].error

    @property
    def kind(self) -> str | None:
        """`exact`, `bound` or `estimate`; None without a likelihood."""
        return self.good[0].kind if self.good else None

    @property
    def copies(self) -> bool | None:
        """True if any trial was flagged for copying, None if the test could not tell."""
        flags = [t.copies.get("flag") for t in self.good]
        return True if True in flags else (False if False in flags else None)

    @cached_property
    def metrics(self) -> dict[str, Result]:
        """Means over seeds, with intervals over seeds and blocks."""
        names = dict.fromkeys(name for t in self.good for name in t.metrics)
        return {name: pooled([t.metrics[name] for t in self.good if name in t.metrics]) for name in names}

    @cached_property
    def cost(self) -> dict[str, float | None]:
        """Mean cost of a fit."""
        names = dict.fromkeys(name for t in self.good for name in t.cost)
        return {name: _mean([t.cost.get(name) for t in self.good]) for name in names}

    @property
    def seconds(self) -> float:
        """Mean seconds of a fit; 0 where nothing was fitted."""
        return self.cost.get("seconds") or 0.0

    def value(self, metric: str) -> float | None:
        """Return the value of a metric; None if it is not available or not finite."""
        value = self.metrics[metric].value if metric in self.metrics else None
        return value if value is not None and math.isfinite(value) else None

    def to_json(self) -> dict[str, Any]:
        """Return the row in the schema of `report.json`."""
        first = self.good[0] if self.good else self.trials[0]
        row: dict[str, Any] = {
            "name": self.name, "kind": self.kind, "measure": first.measure, "seeds": len(self.good), "copies": self.copies,
            "metrics": {name: numbers(r) for name, r in self.metrics.items()},
            "cost": self.cost, "settings": first.settings, "copy_test": first.copies, "notes": first.notes, "remarks": first.remarks,
        }  # fmt: skip
        if len(self.good) > 1:
            row["spread"] = {
                name: [v for t in self.good if name in t.metrics and (v := t.metrics[name].value) is not None]
                for name in self.metrics
            }
        failures = [t.error for t in self.trials if t.error is not None]
        return {**row, "error": failures[0]} if failures else row


def numbers(result: Result) -> dict[str, Any]:
    """Return a result without its blocks, numbers that are not finite as None with a note."""
    plain = {"value": result.value, "low": result.low, "high": result.high}
    kept = {k: None if v is None or not math.isfinite(v) else float(v) for k, v in plain.items()}
    note = result.note
    if result.value is not None and kept["value"] is None and "infinite" not in note:
        note = f"{result.value}; {note}" if note else f"{result.value}"
    return {**kept, "n": result.n, "note": note}


def pooled(results: Sequence[Result]) -> Result:
    r"""Return the mean over seeds with a 95 % interval over blocks of records and over seeds.

    \(v = v_\text{blocks} + s^2_\text{seeds} / S\), with Student's quantile at Welch-Satterthwaite degrees of freedom. The
    seeds share the real records, so \(v_\text{blocks}\) is the jackknife variance of the mean over seeds. A metric without
    block values gets the range of the seeds' own intervals, which is never too small.

    Arguments:
        results: One result per seed, at the same n.

    Example:
        >>> pooled([Result(0.5, 0.25, 0.75, 100), Result(0.75, 0.5, 1.0, 100)])
        Result(0.625 [0.25 1], n=100)
    """
    kept = [r for r in results if r.value is not None]
    if len(kept) < 2:
        return kept[0] if kept else results[0]
    values = np.array([r.value for r in kept], dtype=float)
    mean, n, note = float(values.mean()), kept[0].n, next((r.note for r in kept if r.note), "")
    blocks = [r.blocks for r in kept if r.blocks is not None]
    if len(blocks) == len(kept) and len({len(b) for b in blocks}) == 1 and math.isfinite(mean):
        left_out = np.mean(blocks, axis=0)
        parts = [
            (jackknife_variance(left_out), len(left_out) - 1),
            (float(values.var(ddof=1)) / len(kept), len(kept) - 1),
        ]
        variance = sum(v for v, _ in parts)
        degrees = variance**2 / sum(v**2 / df for v, df in parts) if variance > 0 else 1.0
        half = float(stats.t.ppf(0.975, degrees)) * math.sqrt(variance)
        low, high = _limits(kept)
        return Result(mean, max(low, mean - half), min(high, mean + half), n, note, left_out)
    lows, highs = [r.low for r in kept if r.low is not None], [r.high for r in kept if r.high is not None]
    return Result(mean, min(lows, default=None), max(highs, default=None), n, note)


def _limits(results: Sequence[Result]) -> tuple[float, float]:
    """Return the range that a metric was clipped to: 0 or 1 if any interval ends there exactly."""
    touched = {end for r in results for end in (r.low, r.high)}
    return (0.0 if 0.0 in touched else -math.inf), (1.0 if 1.0 in touched else math.inf)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
