"""The bench: one model and one seed after the other is fitted, drawn from, judged and written down."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import store
from ..errors import Problem, RunFailed
from ..metrics import Yardstick, nats
from ..model import Event, Model, Scores, Watch
from ..report import exhibits
from ..report.cost import Meter
from ..report.pictures import save_records
from ..report.rows import REAL, Trial
from .planning import MOST_JUDGED, Entry, Plan, configured

PROTOCOL = 1  # raise it when the meaning of a stored number changes: old rows are then fitted again


class Unsuited(Problem):
    """A model refused the data before it had learned anything from them."""


class Bench:
    """Where models are fitted and judged one by one: the data, the yardstick, the run folder.

    Arguments:
        wanted: The plan.
        folder: Run folder.
        resume: Take finished rows as they are.
        watch: Watchers of every fit.
    """

    def __init__(self, wanted: Plan, folder: Path, resume: bool, watch: Sequence[Watch]) -> None:
        self.plan, self.data, self.folder, self.resume, self.watch = wanted, wanted.data, folder, resume, watch

    @cached_property
    def yardstick(self) -> Yardstick:
        """Feature spaces and real features, prepared once and only if something has to be judged."""
        return Yardstick(self.data, seed=0)

    def real(self) -> Trial:
        """Judge the valid part as if it had been generated: the best that any model can reach."""
        path, key = self.folder / "real" / "row-0.json", self._key("real", {}, 0)
        if found := self._finished(path, key):
            return found
        trial = Trial(REAL, key=key, reference=True)
        judgement = self.yardstick.real()
        exhibits.note_judgement(trial, judgement)
        exhibits.show_real(trial, self.data, self.yardstick.schema, self.folder / "real")
        store.write_json(path, trial.to_json())
        return trial

    def trial(self, entry: Entry, k: int) -> Trial:
        """Fit a model with seed number `k` and judge it, or take the finished row.

        Errors:
            Unsuited: If the model refuses the data before it learned anything.
        """
        home = self.folder / entry.name
        path, work = home / f"row-{k}.json", home / f"seed{k}"
        model = configured(entry.model, {"random_state": self._seed(entry.model) + k})
        trial = Trial(entry.name, k, self._key(entry.name, model.get_params(deep=False), k), reference=entry.reference)
        trial.settings = model.get_params(deep=False)
        if found := self._finished(path, trial.key):
            return found
        begun = self.resume and _read(work / "begun.json") == {"key": trial.key}
        if not begun:
            store.remove(work)
            store.write_json(work / "begun.json", {"key": trial.key})
        store.remove(path)
        curve, fitted = _Curve(), self._fitted(trial, work)
        try:
            fitted = fitted or self._fit(model, trial, curve, work, begun)
            self._judge(fitted, trial, home)
        except (Problem, RunFailed) as e:
            if isinstance(e, Problem) and fitted is None and not curve.rows:
                store.remove(home)
                raise Unsuited(str(e)) from e
            trial.error = str(e)
        except Exception as e:
            trial.error = f"{type(e).__name__}: {(str(e).splitlines() or ['no message'])[0]}"
            store.write_bytes(work / "error.txt", traceback.format_exc().encode())
        if trial.error is None:  # a failed trial leaves no row, so that it is tried again
            store.write_json(path, trial.to_json())
        return trial

    def _fit(self, model: Model, trial: Trial, curve: _Curve, work: Path, begun: bool) -> Model:
        with Meter() as meter:
            model.fit(self.data, out=work, resume=begun, watch=[*self.watch, curve])
        if not (work / "history.jsonl").exists() and curve.rows:
            lines = "".join(json.dumps(row) + "\n" for row in curve.rows)
            store.write_bytes(work / "history.jsonl", lines.encode())
        tensors, _ = model._state()
        trial.cost = {
            "seconds": getattr(model, "seconds_", meter.seconds),
            "steps": getattr(model, "steps_", None) or (curve.rows[-1]["step"] if curve.rows else None),
            "parameters": getattr(model, "parameters_", sum(t.numel() for t in tensors.values())),
            "peak_memory_mb": meter.peak_mb,
        }
        model.save(self._place(trial, work))
        store.write_json(work / "fitted.json", {"key": trial.key, "cost": trial.cost})
        return model

    def _fitted(self, trial: Trial, work: Path) -> Model | None:
        """Return the model of a trial that was stopped between fit and judgement."""
        found = _read(work / "fitted.json") or {}
        if not self.resume or found.get("key") != trial.key or not (self._place(trial, work) / "config.json").is_file():
            return None
        trial.cost = found["cost"]
        return Model.load(self._place(trial, work))

    @staticmethod
    def _place(trial: Trial, work: Path) -> Path:
        return work.parent if trial.seed == 0 else work

    def _judge(self, model: Model, trial: Trial, home: Path) -> None:
        begun = time.perf_counter()
        fake = model.draw(self.yardstick.n, random_state=trial.seed)
        trial.cost["samples_per_second"] = len(fake) / max(time.perf_counter() - begun, 1e-9)
        judgement = self.yardstick.judge(fake, model=model)
        exhibits.note_judgement(trial, judgement)
        trial.measure, trial.notes = model.layout_.measure_id, list(model.codec_.notes)
        if isinstance(model, Scores):
            trial.kind = model.kind_
            trial.metrics["nats"] = nats(model.log_prob(self.data.test.take(slice(0, MOST_JUDGED))))
        if trial.seed == 0:
            save_records(fake, home / "samples")
            exhibits.show(trial, model, self.data, fake, judgement, self.yardstick.schema, home)

    def _finished(self, path: Path, key: str) -> Trial | None:
        found = _read(path) if self.resume else None
        return Trial.from_json(found) if found is not None and found.get("key") == key else None

    def _seed(self, model: Model) -> int:
        return self.plan.random_state if model.random_state is None else model.random_state

    def _key(self, name: str, params: Mapping[str, Any], k: int) -> str:
        parts = [PROTOCOL, name, k, self.data.split_id, [len(self.data.part(p)) for p in ("train", "valid", "test")]]
        kept = {k: v for k, v in params.items() if k != "device"}
        text = json.dumps(store.to_jsonable([*parts, self.data.target, kept]), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Curve:
    """Watcher that keeps the numbers of a fit, for models that write no history themselves."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def __call__(self, event: Event) -> None:
        row = {"step": event.step, "seconds": round(event.seconds, 3), "stage": event.stage}
        self.rows.append({**row, **{k: float(v) for k, v in event.values.items()}})


def _read(path: Path) -> Any:
    return store.read_json(path) if path.is_file() else None
