"""Verbs that look things up: `models`, `datasets`, `show`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .console import answer, dry_run, facts, table
from .flags import Shared
from .runs import open_run
from .use import RunArgument

_WORDS = {"Scores": "score", "Encodes": "encode", "Imputes": "impute", "Conditional": "condition"}


def models(shared: Shared = None) -> None:  # type: ignore[assignment]
    """List the models: what each can do, and what its score is."""
    from ..model import CAPABILITIES, model_class, model_names

    if dry_run(shared, "models", {}):
        return
    found = []
    for name in model_names():
        cls: Any = model_class(name)
        can = [_WORDS[c.__name__] for c in CAPABILITIES if issubclass(cls, c)]
        found.append(
            {
                "name": name,
                "can": can,
                "kind": cls.kind if "score" in can else None,
                "conditions": cls.conditions if "condition" in can else None,
                "takes": sorted(cls.takes),
                "reference": cls.reference,
                "about": _first_sentence(cls),
                "settings": {
                    k: {"default": s.default, "type": s.describe(), "doc": s.doc} for k, s in cls.settings().items()
                },
            }
        )
    rows = []
    for m in found:
        about = m["about"] + (" (reference)" if m["reference"] else "")
        rows.append([m["name"], ", ".join(["sample", *m["can"]]), m["kind"] or "-", m["conditions"] or "-", about])
    answer(shared, found, table(["model", "can", "score", "conditions", "what it is"], rows))


def _first_sentence(cls: type) -> str:
    """Return the first sentence of a docstring without its formulas, which no terminal sets."""
    text = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
    text = re.sub(r":?\s*\\\(.*?\\\)|`", "", text)
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


def datasets(shared: Shared = None) -> None:  # type: ignore[assignment]
    """List the data sets that have a name: embedded, cached or to be downloaded."""
    from ..data import datasets as catalogue

    if dry_run(shared, "datasets", {}):
        return
    found = [{k: getattr(entry, k) for k in ("name", "modality", "state", "target", "about")} for entry in catalogue()]
    rows = [[e["name"], e["modality"], e["state"], e["target"] or "-", e["about"]] for e in found]
    answer(shared, found, table(["data set", "modality", "state", "target", "what it is"], rows))


def show(run: RunArgument, shared: Shared = None) -> None:  # type: ignore[assignment]
    """Say what a run is: model, data, settings, cost, files."""
    opened = open_run(run)
    if dry_run(shared, "show", {"run": run}):
        return
    model, told = opened.model, opened.facts
    cost = {
        "seconds": told.get("seconds"),
        "steps": getattr(model, "steps_", None),
        "parameters": getattr(model, "parameters_", None),
    }
    files = {p.name: p.stat().st_size for p in sorted(opened.path.iterdir()) if p.is_file()}
    found = {
        "run": str(opened.path),
        "model": opened.name,
        "about": _first_sentence(type(model)),
        "kind": getattr(model, "kind_", None) if hasattr(type(model), "kind_") else None,
        "measure": model.layout_.measure,
        "seed": model.seed_,
        "settings": model.get_params(deep=False),
        "data": told.get("data"),
        "command": told.get("command"),
        "cost": {k: v for k, v in cost.items() if v is not None},
        "notes": list(model.codec_.notes),
        "files": files,
    }
    answer(shared, found, facts(_lines(found)))


def _lines(found: dict[str, Any]) -> dict[str, str]:
    data, settings = found["data"] or {}, found["settings"]
    changed = {k: v for k, v in settings.items() if v is not None}
    lines = {
        "model": f"{found['model']}: {found['about']}",
        "data": data.get("summary") or data.get("source") or "not recorded",
        "score": f"{found['kind'] or 'none'}"
        + (f", against {found['measure']}" if found["kind"] and found["measure"] else ""),
        "settings": ", ".join(f"{k} {v}" for k, v in changed.items()),
        "seed": found["seed"],
        "cost": ", ".join(f"{v:,} {k}" for k, v in found["cost"].items()) or "not recorded",
        "command": found["command"] or "not recorded",
        "notes": "\n".join(found["notes"]) or "none",
        "files": ", ".join(f"{name} ({_size(size)})" for name, size in found["files"].items()),
        "folder": Path(found["run"]),
    }
    return {k: str(v) for k, v in lines.items()}


def _size(n: int) -> str:
    return f"{n} B" if n < 1000 else f"{n / 1e3:.0f} kB" if n < 1e6 else f"{n / 1e6:.1f} MB"
