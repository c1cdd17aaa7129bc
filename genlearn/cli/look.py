"""Verbs that look things up: `models`, `datasets`, `show`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import Problem
from ..progress import number
from .console import answer, dry_run, facts, table
from .flags import Shared
from .journal import RUN_FILE, glance, read_facts, state_of
from .runs import open_run
from .use import RunArgument

_WORDS = {"Scores": "score", "Encodes": "encode", "Imputes": "impute", "Conditional": "condition"}


def models(shared: Shared = None) -> None:  # type: ignore[assignment]
    """List the models: what each can do, and what its score is.

    Examples:
        $ genlearn models
        $ genlearn models --json
    """
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
    """List the data sets that have a name: embedded, cached or to be downloaded.

    Examples:
        $ genlearn datasets
        $ genlearn datasets --json
    """
    from ..data import datasets as catalogue

    if dry_run(shared, "datasets", {}):
        return
    found = [{k: getattr(entry, k) for k in ("name", "modality", "state", "target", "about")} for entry in catalogue()]
    rows = [[e["name"], e["modality"], e["state"], e["target"] or "-", e["about"]] for e in found]
    answer(shared, found, table(["data set", "modality", "state", "target", "what it is"], rows))


def show(run: RunArgument, shared: Shared = None) -> None:  # type: ignore[assignment]
    """Say what a run is: model, data, settings, cost, files; or list the runs of a folder.

    Examples:
        $ genlearn show runs/digits-vae
        $ genlearn show runs/
    """
    path = Path(run)
    if path.is_dir() and not (path / "config.json").exists() and not glance(path).get("model"):
        return _list(path, shared)
    told = read_facts(path)
    stopped = "model" in told and not (path / "config.json").exists()
    model = None if stopped else open_run(run).model
    if dry_run(shared, "show", {"run": run}):
        return None
    keys = (
        "message",
        "started",
        "ended",
        "seed",
        "settings",
        "data",
        "command",
        "folder",
        "versions",
        "machine",
        "values",
    )
    found: dict[str, Any] = {"run": run, "state": state_of(path, told), **{k: told.get(k) for k in keys}}
    found["files"] = {p.name: p.stat().st_size for p in sorted(path.iterdir()) if p.is_file()}
    found |= {"model": told.get("model"), "about": "no model was saved", "cost": {}} if model is None else _about(model)
    found["cost"] |= {k: told[k] for k in ("seconds", "steps", "parameters") if told.get(k) is not None}
    answer(shared, found, facts(_lines(found)))
    return None


def _about(model: Any) -> dict[str, Any]:
    """Return what a fitted model says of itself."""
    cost = {"steps": getattr(model, "steps_", None), "parameters": getattr(model, "parameters_", None)}
    return {
        "model": model.name(),
        "about": _first_sentence(type(model)),
        "kind": getattr(model, "kind_", None) if hasattr(type(model), "kind_") else None,
        "measure": model.layout_.measure,
        "seed": model.seed_,
        "settings": model.get_params(deep=False),
        "notes": list(model.codec_.notes),
        "cost": {k: v for k, v in cost.items() if v is not None},
    }


def _list(folder: Path, shared: Shared) -> None:
    """List the runs of a folder, the newest first; of a comparison, its models."""
    if dry_run(shared, "show", {"folder": str(folder)}):
        return
    inside = [p for p in folder.iterdir() if (p / RUN_FILE).is_file() or (p / "config.json").is_file()]
    if not inside:
        raise Problem(
            f"{folder} holds no runs. Give a folder that `genlearn fit` or `genlearn compare` wrote, or one of such."
        )
    found = sorted((_entry(p) for p in inside), key=lambda e: (e["when"], e["name"]), reverse=True)
    about = glance(folder)
    said = {"folder": str(folder), **({"comparison": about} if about else {}), "runs": found}
    heads = ("name", "model", "data", "state", "score", "when")
    answer(shared, said, table(heads, [[e[head] for head in heads] for e in found]))


def _entry(path: Path) -> dict[str, Any]:
    """Return what a list says of a run, from the small files of its folder only."""
    about, row, board = glance(path), glance(path, "row-0.json"), glance(path, "report.json")
    told = about or glance(path.parent)
    model = about.get("model") or glance(path, "config.json").get("model")
    keep = board.get("verdict", {}).get("winner")
    return {
        "name": path.name,
        "model": model or ", ".join(m["name"] for m in board.get("models", ())) or "-",
        "data": told.get("data", {}).get("name", "-"),
        "state": state_of(path, told),
        "score": f"keep {keep}" if keep else _score(row),
        "when": str(told.get("ended") or told.get("started") or "-")[:16],
    }


def _score(row: dict[str, Any]) -> str:
    """Return `nats -13.5 exact, AUC 0.61` of a judged run."""
    metrics = {k: m["value"] for k, m in row.get("metrics", {}).items() if m.get("value") is not None}
    nats = [f"nats {number(metrics['nats'])} {row.get('kind') or ''}".rstrip()] if "nats" in metrics else []
    return ", ".join([*nats, *([f"AUC {metrics['auc']:.2f}"] if "auc" in metrics else [])]) or "-"


def _lines(found: dict[str, Any]) -> dict[str, str]:
    """Return what `show` prints, line by line."""
    settings = {k: v for k, v in (found["settings"] or {}).items() if v is not None and k != "random_state"}
    data = found["data"] or {}
    where, versions = found["machine"] or {}, found["versions"] or {}
    lines: dict[str, Any] = {
        "model": f"{found['model']}: {found['about']}",
        "state": f"{found['state']}{': ' + found['message'] if found['message'] else ''}",
        "when": " to ".join(t for t in (found["started"], found["ended"]) if t),
        "data": data.get("summary") or data.get("source"),
        "source": " ".join(str(data[k]) for k in ("source", "fingerprint") if data.get(k)),
        "score": ", against ".join(filter(None, (found.get("kind") or "none", found.get("kind") and found["measure"]))),
        "values": ", ".join(f"{k} {number(v)}" for k, v in (found["values"] or {}).items()),
        "settings": ", ".join(f"{k} {_plain(v)}" for k, v in settings.items()),
        "seed": found["seed"],
        "cost": ", ".join(f"{v:,} {k}" for k, v in found["cost"].items()),
        "command": found["command"],
        "in": found["folder"],
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "machine": ", ".join(f"{k} {v}" for k, v in where.items()),
        "notes": "\n".join(found.get("notes") or ()),
        "files": ", ".join(f"{name} ({_size(size)})" for name, size in found["files"].items()),
        "folder": Path(found["run"]),
    }
    return {k: str(v) for k, v in lines.items() if v not in (None, "")}


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _size(n: int) -> str:
    return f"{n} B" if n < 1000 else f"{n / 1e3:.0f} kB" if n < 1e6 else f"{n / 1e6:.1f} MB"
