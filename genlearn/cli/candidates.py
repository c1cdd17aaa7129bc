"""What fits at the cursor: names of models, data sets, files, runs, choices. Nothing here waits for torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ..registry import model_names

RUNS = Path("runs")
Completer = Callable[[str], list[str]]


def models(incomplete: str) -> list[str]:
    """Return names of models."""
    return _beginning(incomplete, model_names())


def several_models(incomplete: str) -> list[str]:
    """Return lists of models: what stands before the last comma, and one more."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in models(last) if name not in before.split(",")]


def sources(incomplete: str) -> list[str]:
    """Return names of data sets, then files and folders."""
    from ..data.catalog import datasets

    return _beginning(incomplete, [entry.name for entry in datasets()]) + files(incomplete)


def files(incomplete: str) -> list[str]:
    """Return files and folders."""
    return [f"{path}/" if path.is_dir() else str(path) for path in _paths(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Return run folders, those below `runs/` first, and folders in which some may lie."""
    known = sorted(str(p) for p in RUNS.glob("*") if _is_run(p)) if "/" not in incomplete else []
    folders = [str(p) if _is_run(p) else f"{p}/" for p in _paths(incomplete) if p.is_dir()]
    return list(dict.fromkeys([*_beginning(incomplete, known), *folders]))


def choices(values: Iterable[object]) -> Completer:
    """Return a completer of a setting's choices."""
    return lambda incomplete: _beginning(incomplete, map(str, values))


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _paths(incomplete: str) -> list[Path]:
    """Return what lies where an incomplete path points; hidden things only if they are asked for."""
    folder, name = os.path.split(os.path.expanduser(incomplete))
    try:
        found = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    return [Path(folder) / n for n in found if n.startswith(name) and (name or not n.startswith("."))]


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("run.json", "config.json"))
