"""What a comparison is going to do: which models, which yardsticks, what cannot take the data, how long it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..codecs import codec_for
from ..data.records import Dataset, Records
from ..errors import Problem
from ..model import Model, model_class, model_names
from ..report.board import duration

MOST_JUDGED = 5000  # records per side that a yardstick looks at
PEEK = 2000  # records that are enough to see which kinds of fields the data has


@dataclass(frozen=True)
class Entry:
    """One model of a plan, configured but not fitted.

    Arguments:
        name: Name of its row and folder.
        model: The configured model, without a seed.
        seconds: What one fit is expected to take; None if nobody knows.
    """

    name: str
    model: Model
    seconds: float | None

    @property
    def reference(self) -> bool:
        """Whether it is a yardstick rather than a candidate."""
        return type(self.model).reference


@dataclass(frozen=True)
class Plan:
    """What a comparison is going to do; print it before hours are spent.

    Arguments:
        data: The records in three parts.
        entries: Candidates and references, in the order of work.
        skipped: Models that cannot take the data: `{"name": ..., "reason": ...}`.
        seeds: Repetitions of every fit.
        random_state: Seed of the first repetition; the others count up.
        options: `budget`, `steps` and `device`, as far as they were given.
    """

    data: Dataset
    entries: tuple[Entry, ...]
    skipped: tuple[dict[str, str], ...] = ()
    seeds: int = 1
    random_state: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def candidates(self) -> list[Entry]:
        """The models that can win."""
        return [e for e in self.entries if not e.reference]

    @property
    def references(self) -> list[Entry]:
        """The yardsticks."""
        return [e for e in self.entries if e.reference]

    @property
    def seconds(self) -> float | None:
        """Expected total, in seconds: fits, and about twenty seconds to judge 5000 records; None if a fit is unknown."""
        if any(e.seconds is None for e in self.entries):
            return None
        judging = 2.0 + 20.0 * min(len(self.data.test), len(self.data.valid), MOST_JUDGED) / MOST_JUDGED
        return sum(self.seeds * ((e.seconds or 0.0) + judging) for e in self.entries) + judging

    def __str__(self) -> str:
        names = ", ".join(e.name for e in self.candidates) or "no candidates"
        yardsticks = ", ".join(e.name for e in self.references)
        effort = "".join(f"{_effort(k, self.options[k])} each, " for k in ("budget", "steps") if k in self.options)
        total = "" if self.seconds is None else f" · about {_about(self.seconds)}"
        return (
            f"plan: {names} + references {yardsticks} · {effort}{self.seeds} seed{'s' * (self.seeds != 1)} · "
            f"{machine(self.options.get('device'))}{total}"
        )


def plan(
    data: Any,
    models: Sequence[str | Model] | str | None = None,
    *,
    target: str | None = None,
    label: Any = None,
    budget: float | str | None = None,
    steps: int | None = None,
    seeds: int = 1,
    random_state: int = 0,
    device: str | None = None,
) -> Plan:
    """Return what `compare` with the same arguments would do, without fitting anything.

    Errors:
        Problem: If a model name or setting is wrong, or the data cannot be read.

    Example:
        >>> import numpy as np
        >>> from genlearn.compare import plan
        >>> [e.name for e in plan(np.random.default_rng(0).normal(size=(60, 2)), models="gmm").candidates]
        ['gmm']
    """
    if seeds < 1:
        raise Problem(f"seeds must be at least 1, not {seeds}.")
    if budget is not None and steps is not None:
        raise Problem(f"a budget ({budget}) and a number of steps ({steps}) exclude each other. Give one of them.")
    dataset = _dataset(data, target, label)
    options = {k: v for k, v in {"budget": budget, "steps": steps, "device": device}.items() if v is not None}
    wanted = [models] if isinstance(models, str | Model) else models
    named = _named(wanted)
    entries, skipped = [], []
    for name, model in named:
        model = configured(model, options)
        model._check_params()
        if reason := _unsuited(model, dataset.train):
            skipped.append({"name": name, "reason": reason})
        else:
            entries.append(Entry(name, model, _expected(model, len(dataset.train))))
    return Plan(dataset, tuple(entries), tuple(skipped), seeds, random_state, options)


def _dataset(data: Any, target: str | None, label: Any) -> Dataset:
    if isinstance(data, Dataset) and target is None and label is None:
        return data
    from ..data import read

    return read(data, target=target, label=label)


def _named(wanted: Sequence[str | Model] | None) -> list[tuple[str, Model]]:
    """Return candidates and references with names that are unique and fit for a folder."""
    references = [n for n in model_names() if model_class(n).reference]
    plain = [m for m in wanted or () if isinstance(m, str)]
    if wanted is not None and not wanted:
        raise Problem("there are no models to compare. Name some, or leave them out to compare all.")
    if twice := next((m for m in plain if plain.count(m) > 1), None):
        raise Problem(f'the model "{twice}" is named twice. Name it once; seeds say how often each model is fitted.')
    if wanted is None:
        others = [n for n in model_names() if n not in references]
        wanted = sorted(others, key=lambda n: (model_class(n).needs_gradients, n))
    models = [model_class(m)() if isinstance(m, str) else m for m in wanted]
    models += [model_class(n)() for n in references if n not in {type(m).name() for m in models}]
    names = [type(m).name() for m in models]
    named: dict[str, Model] = {}
    for name, model in zip(names, models, strict=True):
        base = name if names.count(name) == 1 else "-".join([name, *_differing(model)])
        unique, k = base, 2
        while unique in named:
            unique, k = f"{base}-{k}", k + 1
        named[unique] = model
    return list(named.items())


def _differing(model: Model) -> list[str]:
    """Return the settings that are not the default, as parts of a name: `latent8`."""
    defaults = {name: s.default for name, s in type(model).settings().items()}
    parts = [
        f"{k}{v}"
        for k, v in model.get_params(deep=False).items()
        if v != defaults.get(k) and k not in ("random_state", "device")
    ]
    return ["".join(c if c.isalnum() or c in "._" else "-" for c in part)[:24] for part in parts][:3]


def configured(model: Model, options: Mapping[str, Any]) -> Model:
    """Return an unfitted copy of a model with those options that it has; steps and budget exclude each other."""
    from sklearn.base import clone

    known = {k: v for k, v in options.items() if k in type(model).settings()}
    if "steps" in known or "budget" in known:
        known = {**{k: None for k in ("steps", "budget") if k in type(model).settings()}, **known}
    return clone(model).set_params(**known)


def _unsuited(model: Model, train: Records) -> str | None:
    """Return why a model cannot take these records, if it cannot."""
    cls = type(model)
    layout = codec_for(train.modality)(cls.takes, cls.label_as_field).fit(train.take(slice(0, PEEK))).layout
    foreign = sorted({f.kind for f in layout.fields} - cls.takes)
    return (
        None
        if not foreign
        else f"it takes {', '.join(sorted(cls.takes))} values, the data has {', '.join(foreign)} ones"
    )


def _expected(model: Model, n: int) -> float | None:
    """Return a guess at the seconds of one fit; closed forms and EM take seconds per ten thousand records."""
    if not model.needs_gradients:
        return 0.0 if model.reference else 2.0 + n / 2000
    budget = getattr(model, "budget", None)
    if budget is None:
        return None
    from ..engine import seconds_of

    return seconds_of(budget)


def _effort(kind: str, value: Any) -> str:
    if kind == "steps":
        return f"{value:,} steps"
    from ..engine import seconds_of

    return duration(seconds_of(value))


def _about(seconds: float) -> str:
    return (
        f"{max(10, round(seconds / 10) * 10)} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else duration(seconds)
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: str | None) -> str:
    """Return where training will run, for the plan: "2 cores, cpu"."""
    import torch

    cores = _cores()
    where = device if device not in (None, "auto") else "cuda" if torch.cuda.is_available() else "cpu"
    return f"{cores} core{'s' * (cores != 1)}, {where}"
