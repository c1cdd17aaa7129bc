"""Checkpoints: one file each, written aside and renamed, its checksum in its name: a kill at any moment leaves the last one usable.

A file is safetensors: the tensors of a run, and all else about it as JSON in the metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
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


def write(folder: Path, step: int, numbers: dict[str, Any], tensors: dict[str, Tensor], *, keep: int = KEPT) -> Path:
    """Write the checkpoint of a step, delete all but the last `keep` up to it, and return its path.

    Errors:
        OSError: If the disk refuses; nothing half-written stays, and earlier checkpoints are as they were.
    """
    for left_over in folder.glob(".step-*"):  # of a run that was killed while it wrote
        store.remove(left_over)
    data = store.tensor_bytes(tensors, {"run": json.dumps(store.to_jsonable({"step": step, "numbers": numbers}))})
    path = folder / _name(step, data)
    store.write_bytes(path, data)
    _flush(folder)
    found = sorted(folder.glob("step-*"))
    earlier = [p for p in found if p.name < path.name]
    for old in {*found} - {
        path,
        *earlier[len(earlier) - keep + 1 :],
    }:  # later ones are damaged: the run went back behind them
        store.remove(old)
    return path


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


def _name(step: int, data: bytes) -> str:
    return f"step-{step:012d}-{hashlib.sha256(data).hexdigest()[:16]}.safetensors"


def _read(path: Path) -> tuple[int, dict[str, Any], dict[str, Tensor]] | None:
    """Return step, numbers and tensors of one checkpoint, None if anything about it is wrong."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = store.read_bytes(path)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        run = store.from_jsonable(json.loads(header["__metadata__"]["run"]))
        return (run["step"], run["numbers"], load(data)) if path.name == _name(run["step"], data) else None
    except (OSError, KeyError, TypeError, ValueError, RecursionError, SafetensorError):
        return None


def _flush(folder: Path) -> None:
    """Make a rename outlast a power cut, where the system can flush folders."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
