"""Checkpoints: folders with checksums, written aside and renamed, so that a kill at any moment leaves the previous one usable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import store
from ..errors import Problem

FOLDER = "checkpoints"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What was read: the step, numbers and tensors of the newest good checkpoint, and a note on each that was passed over."""

    step: int
    numbers: dict[str, Any]
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix`, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def write(folder: Path, step: int, numbers: dict[str, Any], tensors: dict[str, Tensor], *, keep: int = KEPT) -> None:
    """Write the checkpoint of a step, and delete all but the last `keep`.

    Errors:
        OSError: If the disk refuses; nothing half-written stays, and earlier checkpoints are as they were.
    """
    final, aside = folder / f"step-{step:012d}", folder / f".step-{step:012d}.tmp"
    for left_over in folder.glob(".step-*"):  # of a run that was killed while it wrote
        store.remove(left_over)
    aside.mkdir(parents=True)
    try:
        store.write_tensors(aside / "state.safetensors", tensors)
        digest = hashlib.sha256((aside / "state.safetensors").read_bytes()).hexdigest()
        body = {"step": step, "tensors_sha256": digest, "numbers": numbers}
        store.write_json(aside / "state.json", {**body, "sha256": _digest(body)})
        if final.exists():
            final.rename(folder / f".{final.name}.old")
        aside.rename(final)
        _flush(folder)
    finally:
        for left_over in folder.glob(".step-*"):
            store.remove(left_over)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest good checkpoint, None if the folder holds none at all.

    Errors:
        Problem: If there are checkpoints but none is good.
    """
    notes: list[str] = []
    found = sorted(folder.glob("step-*"), reverse=True)
    for path in found:
        if (good := _read(path)) is not None:
            return Checkpoint(*good, tuple(notes))
        notes.append(f"{path.name} is damaged and was passed over")
    if found:
        raise Problem(f"all {len(found)} checkpoints in {folder} are damaged. Start anew without --resume.")
    return None


def clear(folder: Path) -> None:
    """Delete all checkpoints of a run."""
    store.remove(folder)


def _read(path: Path) -> tuple[int, dict[str, Any], dict[str, Tensor]] | None:
    """Return step, numbers and tensors of one checkpoint, None if anything about it is wrong."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        body = store.read_json(path / "state.json")
        data = (path / "state.safetensors").read_bytes()
        if body.pop("sha256") != _digest(body) or body["tensors_sha256"] != hashlib.sha256(data).hexdigest():
            return None
        return body["step"], body["numbers"], load(data)
    except (Problem, OSError, KeyError, AttributeError, TypeError, ValueError, SafetensorError):
        return None


def _flush(folder: Path) -> None:
    """Make a rename outlast a power cut, where the system can flush folders."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(store.to_jsonable(body), sort_keys=True).encode()).hexdigest()
