"""Checkpoints: folders written aside and renamed, verified by checksum; the last two are kept."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from . import store
from .errors import Problem

KEPT = 2


def write(folder: Path, step: int, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write the checkpoint of a step so that a kill at any moment leaves the previous one usable."""
    final, aside = folder / f"step-{step:09d}", folder / f".step-{step:09d}.tmp"
    store.remove(aside)
    aside.mkdir(parents=True)
    store.write_tensors(aside / "state.safetensors", tensors)
    digest = hashlib.sha256((aside / "state.safetensors").read_bytes()).hexdigest()
    body = {"step": step, "tensors_sha256": digest, "state": state}
    store.write_json(aside / "state.json", {**body, "sha256": _digest(body)})
    store.remove(final)
    aside.rename(final)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def newest(folder: Path) -> tuple[int, dict[str, Any], dict[str, Tensor], list[str]] | None:
    """Return step, state and tensors of the newest good checkpoint, and a note on every damaged one that was passed over.

    Returns None if the folder holds no checkpoint at all.

    Errors:
        Problem: If there are checkpoints but none is good.
    """
    notes: list[str] = []
    found = sorted(folder.glob("step-*"), reverse=True)
    for path in found:
        try:
            body = store.read_json(path / "state.json")
            data = (path / "state.safetensors").read_bytes()
            sound = body.pop("sha256") == _digest(body) and body["tensors_sha256"] == hashlib.sha256(data).hexdigest()
        except (Problem, OSError, KeyError, AttributeError, TypeError):
            sound = False
        if sound:
            return body["step"], body["state"], store.read_tensors(path / "state.safetensors"), notes
        notes.append(f"{path.name} is damaged and was passed over")
    if found:
        raise Problem(f"all {len(found)} checkpoints in {folder} are damaged. Start anew without --resume.")
    return None


def clear(folder: Path) -> None:
    """Delete all checkpoints of a run."""
    store.remove(folder)


def _digest(body: dict[str, Any]) -> str:
    import json

    return hashlib.sha256(json.dumps(store.to_jsonable(body), sort_keys=True).encode()).hexdigest()
