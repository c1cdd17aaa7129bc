"""Model folders: JSON and safetensors, written aside and renamed. Loading executes nothing.

| file | holds |
|---|---|
| `config.json` | format, versions, model name, settings, learned numbers and strings, modality, checksums of all |
| `codec.json` | how records become codes |
| `weights.safetensors` | learned tensors |
| `README.md` | the model card |

Saving over an older model: all files are written aside, each under a name that carries its checksum; renaming `config.json` is
the moment at which the new model takes the place of the old one; then the other files get their names. Loading takes what has the
checksum that `config.json` asks for, under either name. So a kill at any moment leaves the old model or the new one, whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import __version__
from .errors import Problem

FORMAT = 1
CONFIG, CODEC, WEIGHTS, CARD = "config.json", "codec.json", "weights.safetensors", "README.md"


def to_jsonable(value: Any) -> Any:
    """Return `value` with numpy scalars, tuples and non-finite numbers in JSON's own terms (non-finite become strings)."""
    if isinstance(value, dict):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(v) for v in value]
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    if isinstance(value, np.ndarray):
        return to_jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Path):
        return str(value)
    return value


def from_jsonable(value: Any) -> Any:
    """Undo `to_jsonable` for non-finite numbers."""
    if isinstance(value, dict):
        if set(value) == {"$float"}:
            return float(value["$float"])
        return {k: from_jsonable(v) for k, v in value.items()}
    return [from_jsonable(v) for v in value] if isinstance(value, list) else value


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside and rename, so that a reader never sees half a file."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return JSON as it stands in files."""
    return (json.dumps(to_jsonable(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file aside, flush it to the disk and rename it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _flush(aside, data)
        os.replace(aside, path)
    finally:
        remove(aside)


def _flush(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read_json(path: Path) -> Any:
    """Read JSON; raise `Problem` with the file's name if it is missing or broken."""
    return _parsed(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read a file; raise `Problem` with its name if that fails."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Problem(f"{path} does not exist. Give a folder that `genlearn fit` or save() wrote.") from None
    except MemoryError:
        raise Problem(f"{path} is too large for the memory. Fit again or restore the file.") from None
    except OSError as e:
        raise Problem(f"{path} cannot be read ({e.strerror}).") from None


def _parsed(path: Path, data: bytes) -> Any:
    try:
        return from_jsonable(json.loads(data.decode("utf-8")))
    except (
        ValueError,
        TypeError,
        RecursionError,
    ) as e:  # text that is not UTF-8 or not JSON, absurd numbers, endless nesting
        raise _damaged(path, f"{type(e).__name__}: not JSON") from None


def _damaged(path: Path, how: str) -> Problem:
    return Problem(f"{path} is damaged ({how}). Fit again or restore the file.")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, aside and renamed."""
    write_bytes(path, tensor_bytes(tensors))


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as they stand in files."""
    from safetensors.torch import save

    return save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors; raise `Problem` if the file is missing or damaged."""
    return _tensors(path, read_bytes(path))


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as e:
        raise _damaged(path, str(e).partition("\n")[0]) from None


# -- model folders ---------------------------------------------------------------------------------------------------
def save(
    path: Path,
    spec: dict[str, Any],
    modality: str,
    codec: dict[str, Any],
    tensors: Mapping[str, Tensor],
    card: dict[str, Any],
) -> Path:
    """Write a model folder; see above for what a kill leaves.

    Arguments:
        path: The folder; other files in it stay.
        spec: `model`, `params` and `state`.
        modality: What kind of records the model is of.
        codec: What `Codec.to_json` returned.
        tensors: Learned tensors by name.
        card: Facts for the model card.

    Errors:
        Problem: If the folder cannot be written.
    """
    versions = {"genlearn": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    files = {CODEC: json_bytes(codec), WEIGHTS: tensor_bytes(tensors)}
    checksums = {name: _checksum(data) for name, data in files.items()}
    config = {"format": FORMAT, "versions": versions, **spec, "modality": modality, "sha256": checksums}
    config["sha256"] = {**checksums, CONFIG: _checksum(json_bytes(config))}
    asides = {name: _aside(path, name, checksums[name]) for name in files}
    fresh = [aside for aside in asides.values() if not aside.exists()]
    try:
        for name, data in files.items():
            _flush(asides[name], data)
        write_json(path / CONFIG, config)
        fresh.clear()  # from here on the folder holds the new model, and needs them
        for name, aside in asides.items():
            os.replace(aside, path / name)
        write_bytes(path / CARD, _card(config, card).encode())
        for name in (CONFIG, CODEC, WEIGHTS, CARD):  # what earlier saves that were killed left aside
            for old in path.glob(f".{name}.*"):
                old.unlink(missing_ok=True)
    except OSError as e:
        for aside in fresh:
            remove(aside)
        raise Problem(
            f"cannot write the model to {path} ({e.strerror}). Choose another folder or free the disk."
        ) from None
    return path


def load(path: Path) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Tensor]]:
    """Read a model folder; return configuration, modality, codec description and tensors.

    Errors:
        Problem: If the folder or a file is missing, damaged, or of another format; names the file.
    """
    if not path.exists():
        raise Problem(f"{path} does not exist. Give a folder that `genlearn fit` or save() wrote.")
    config = read_json(path / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise Problem(f"{path / CONFIG} is not of a genlearn model. Give a folder that `genlearn fit` or save() wrote.")
    if config["format"] != FORMAT:
        raise Problem(f"{path} has format {config['format']}, this genlearn reads {FORMAT}. Install the matching one.")
    kinds = {"model": str, "params": dict, "state": dict, "modality": str, "versions": dict, "sha256": dict}
    if wrong := [k for k, kind in kinds.items() if not isinstance(config.get(k), kind)]:
        raise _damaged(path / CONFIG, f"its {wrong[0]} is missing or of the wrong type")
    checksums = config["sha256"]
    own = checksums.pop(CONFIG, None)
    if own != _checksum(json_bytes(config)):
        raise _damaged(path / CONFIG, "its checksum does not fit")
    codec = _parsed(path / CODEC, _checked_bytes(path, CODEC, checksums))
    if not isinstance(codec, dict):
        raise _damaged(path / CODEC, "not an object")
    return config, config["modality"], codec, _tensors(path / WEIGHTS, _checked_bytes(path, WEIGHTS, checksums))


def remove(path: Path) -> None:
    """Delete a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink(missing_ok=True)


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _aside(path: Path, name: str, checksum: str) -> Path:
    return path / f".{name}.{checksum[:16]}"


def _checked_bytes(path: Path, name: str, checksums: dict[str, Any]) -> bytes:
    """Return the file that has its checksum, under its own name or, after a kill, still under the one that it was written by."""
    asked = str(checksums.get(name))
    aside = _aside(path, name, asked)
    if aside.is_file() and _checksum(data := read_bytes(aside)) == asked:
        return data
    data = read_bytes(path / name)
    if _checksum(data) != asked:
        raise _damaged(path / name, "its checksum does not fit")
    return data


def _card(config: dict[str, Any], card: dict[str, Any]) -> str:
    shown = card["fields"][:12] + ([f"... {len(card['fields']) - 12} more"] if len(card["fields"]) > 12 else [])
    settings = "\n".join(f"| {k} | {v} |" for k, v in config["params"].items())
    notes = "\n".join(f"- {n}" for n in card["notes"]) or "- none"
    return (
        f"# {config['model']}\n\n{card['summary']}\n\nWritten by genlearn {config['versions']['genlearn']}"
        f" (torch {config['versions']['torch']}). Load it with `genlearn.load(folder)`; nothing in it executes.\n\n"
        f"## Data\n\n{config['modality']}: {', '.join(shown)}\n\nMeasure of scores: {card['measure']}\n\n"
        f"## What encoding does\n\n{notes}\n\n## Settings\n\n| setting | value |\n|---|---|\n{settings}\n"
    )
