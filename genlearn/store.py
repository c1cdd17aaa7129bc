"""Model folders: JSON and safetensors, written aside and renamed. Loading executes nothing.

| file | holds |
|---|---|
| `config.json` | format, versions, model name, settings, learned numbers and strings, modality |
| `codec.json` | how records become codes |
| `weights.safetensors` | learned tensors |
| `README.md` | the model card |
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .errors import Problem

FORMAT = 1
MODEL_FILES = ("config.json", "codec.json", "weights.safetensors", "README.md")


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
    write_bytes(path, (json.dumps(to_jsonable(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file aside, flush it to the disk and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read JSON; raise `Problem` with the file's name if it is missing or broken."""
    try:
        return from_jsonable(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise Problem(f"{path} does not exist. Give a folder that `genlearn fit` or save() wrote.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Problem(f"{path} is damaged ({e.__class__.__name__}: not JSON). Fit again or restore the file.") from None
    except OSError as e:
        raise Problem(f"{path} cannot be read ({e.strerror}).") from None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, aside and renamed."""
    from safetensors.torch import save

    write_bytes(path, save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors; raise `Problem` if the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise Problem(f"{path} does not exist. Give a folder that `genlearn fit` or save() wrote.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as e:
        raise Problem(f"{path} is damaged ({e}). Fit again or restore the file.") from None


def save(
    path: Path,
    spec: dict[str, Any],
    modality: str,
    codec: dict[str, Any],
    tensors: dict[str, Tensor],
    card: dict[str, Any],
) -> Path:
    """Write a model folder: every file aside first, `config.json` last, so that a half-written model never loads."""
    from importlib.metadata import version

    versions = {p: version(p) for p in ("genlearn", "torch", "numpy")}
    config = {"format": FORMAT, "versions": versions, **spec, "modality": modality}
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").unlink(missing_ok=True)
        write_json(path / "codec.json", codec)
        write_tensors(path / "weights.safetensors", tensors)
        write_bytes(path / "README.md", _card(config, card).encode())
        write_json(path / "config.json", config)
    except OSError as e:
        raise Problem(
            f"cannot write the model to {path} ({e.strerror}). Choose another --out or free the disk."
        ) from None
    return path


def load(path: Path) -> tuple[dict[str, Any], str, dict[str, Any], dict[str, Tensor]]:
    """Read a model folder; return configuration, modality, codec description and tensors."""
    if not path.exists():
        raise Problem(f"{path} does not exist. Give a folder that `genlearn fit` or save() wrote.")
    config = read_json(path / "config.json")
    if not isinstance(config, dict) or not {"format", "model", "params", "state", "modality"} <= set(config):
        raise Problem(f"{path}/config.json is not a genlearn model. Give a folder that `genlearn fit` or save() wrote.")
    if config["format"] != FORMAT:
        raise Problem(
            f"{path} has format {config['format']}, this genlearn reads {FORMAT}. Install the matching version."
        )
    return config, config["modality"], read_json(path / "codec.json"), read_tensors(path / "weights.safetensors")


def remove(path: Path) -> None:
    """Delete a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
