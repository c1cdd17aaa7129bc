"""`run.json`: what a run folder says about itself, from the first moment to the last; and room for a new run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Problem
from ..lock import holder
from .console import first_process, words

if TYPE_CHECKING:
    from ..data.records import Dataset

RUN_FILE = "run.json"
_LEFT_BY_RUNS = (
    *("run.json", "config.json", "codec.json", "weights.safetensors", "README.md", "history.jsonl", "checkpoints"),
    *("report.json", "report.html", "row-*.json", "begun.json", "fitted.json", "error.txt"),
    *("samples*.png", "samples*.csv", "reconstructions*.png", "nearest.png", "labels.png"),
    *("imputed.png", "decoded.png", "interpolation.png", "traversal*.png", "manifold.png", "real"),
)
_HASHED = 2**20  # bytes at a time


# -- what it says ------------------------------------------------------------------------------------------------------
def facts_of_run(data: Dataset, source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known before the start: command, data, versions, machine."""
    return {
        "command": words(),
        "folder": os.getcwd(),
        "data": facts_of_data(data, source, options),
        "versions": versions(),
        "machine": machine(),
    }


def facts_of_data(data: Dataset, source: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `run.json` says about data: enough to read the same split again, and to see that it is the same."""
    place = Path(source)
    reading = {
        k: str(Path(v).resolve()) if k in ("valid", "test") and Path(v).exists() else v for k, v in options.items()
    }
    return {
        "source": str(place.resolve()) if place.exists() else source,
        "fingerprint": fingerprint(place) if place.exists() else None,
        "name": data.name,
        "summary": data.summary,
        "split": data.split_id,
        "reading": reading,
    }


def fingerprint(source: Path) -> str:
    """Return a hash of a file's content, or of the names and sizes of the files in a folder."""
    digest = hashlib.sha256()
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            digest.update(f"{path.relative_to(source)}\0{path.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        return f"names and sizes, sha256:{digest.hexdigest()}"
    with source.open("rb") as file:
        while block := file.read(_HASHED):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import platform
    from importlib.metadata import version

    packages = ("genlearn", "torch", "numpy", "scipy", "scikit-learn", "pandas")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def machine() -> dict[str, Any]:
    """Return where a run takes place."""
    import platform

    import torch

    world = int(os.environ.get("WORLD_SIZE", "1"))
    return {"platform": platform.platform(), "threads": torch.get_num_threads(), "processes": world}


def now() -> str:
    """Return the time as people and programs read it: `2026-03-01 20:15:07+0100`."""
    return time.strftime("%Y-%m-%d %H:%M:%S%z")


# -- reading and writing -----------------------------------------------------------------------------------------------
def read_facts(path: Path) -> dict[str, Any]:
    """Return what `run.json` says; a model inside a comparison's folder has that comparison's."""
    from ..store import read_json

    for place in (path / RUN_FILE, path.parent / RUN_FILE):
        if place.exists():
            found = read_json(place)
            return found if isinstance(found, dict) else {}
    return {}


def glance(path: Path, name: str = RUN_FILE) -> dict[str, Any]:
    """Return what a folder's `run.json` says, nothing where it cannot be read; quick, for those who look at many."""
    try:
        found = json.loads((path / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def state_of(path: Path, facts: Mapping[str, Any]) -> str:
    """Return `running`, `finished`, `interrupted`, `failed`, or `killed` for a run that could not say how it ended."""
    state = str(facts.get("state", "unknown"))
    return "killed" if state == "running" and not holder(path) and not holder(path.parent) else state


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write `run.json`."""
    from ..store import write_json

    if not first_process():
        return
    try:
        write_json(path / RUN_FILE, dict(facts))
    except OSError as e:
        raise Problem(f"cannot write to {path} ({e.strerror}). Choose another --out or free the disk.") from None


@contextlib.contextmanager
def recorded(out: Path, facts: dict[str, Any]) -> Iterator[None]:
    """Keep `run.json` while something runs: what, since when, and, afterwards, how it ended.

    What is refused before anything was learned leaves no run behind.
    """
    from ..store import sweep

    facts |= {"state": "running", "message": None, "started": facts.get("started") or now(), "ended": None}
    write_facts(out, facts)
    if first_process():
        sweep(out)
    try:
        yield
    except BaseException as e:
        if isinstance(e, Problem) and not _something_learned(out):
            (out / RUN_FILE).unlink(missing_ok=True)
            raise
        state = "interrupted" if isinstance(e, KeyboardInterrupt) else "failed"
        with contextlib.suppress(Problem):  # the disk may be what it failed of
            write_facts(out, facts | {"state": state, "message": " ".join(str(e).split()) or None, "ended": now()})
        raise
    facts |= {"state": "finished", "ended": now()}
    write_facts(out, facts)


def _something_learned(out: Path) -> bool:
    return any((out / name).exists() for name in ("config.json", "history.jsonl", "checkpoints", "report.json"))


# -- room for a run ----------------------------------------------------------------------------------------------------
def free_folder(wanted: Path, fits: Callable[[Path], bool]) -> Path:
    """Return `wanted`, or with a number after it where it does not fit; together, processes must agree without looking."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return wanted
    folder, number = wanted, 2
    while not fits(folder):
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


def make_room(out: Path, *, force: bool) -> None:
    """Leave nothing in a folder that could be taken for the new run's.

    Errors:
        Problem: If a model or a comparison lies there, unless `force` gives it up.
    """
    found = what_lies_in(out)
    if found and not force:
        raise Problem(f"{out} holds {found}. Choose another --out, or give --force to replace it.")
    clear(out)


def what_lies_in(out: Path) -> str:
    """Return what would be lost if a run began in a folder anew, in words: "a finished vae run"; empty for nothing."""
    facts = read_facts(out) if (out / RUN_FILE).exists() else {}
    name = facts.get("model", "")
    if (out / "config.json").exists():
        return f"a {state_of(out, facts)} {name} run" if name else "a model"
    if (out / "report.json").exists() or any(out.glob("*/row-*.json")):
        return f"a comparison of {facts.get('data', {}).get('name', 'models')}"
    return f"a stopped {name} run, which --resume goes on with" if any(out.glob("checkpoints/step-*")) else ""


def clear(out: Path) -> None:
    """Delete what runs leave in a folder, and in the folders of a comparison; files that a person put there stay."""
    from ..store import remove

    inside = {p.parent for p in out.glob("*/row-*.json")} | {p.parent.parent for p in out.glob("*/seed*/begun.json")}
    for folder in [*inside, *(p.parent for p in out.glob("*/seed*/begun.json")), out]:
        for pattern in _LEFT_BY_RUNS:
            for path in folder.glob(pattern):
                remove(path)
    for folder in [*(p for home in inside for p in home.glob("seed*")), *inside]:
        with contextlib.suppress(OSError):
            folder.rmdir()
