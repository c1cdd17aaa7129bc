"""Model folders: JSON and safetensors, written aside and renamed. Loading executes nothing.

| file | holds |
|---|---|
| `config.json` | format, versions, model name, settings, learned numbers and strings, modality, sizes and checksums of all |
| `codec.json` | how records become codes |
| `weights.safetensors` | learned tensors |
| `README.md` | the model card |

Saving over an older model: all files are written aside, each under a name that carries its checksum; renaming `config.json` is
the moment at which the new model takes the place of the old one; then the other files get their names. Loading takes what has the
checksum that `config.json` asks for, under either name. So a kill at any moment leaves the old model or the new one, whole.

A folder may come from anywhere, and checksums are no proof against whoever wrote it. So only plain files of the folder itself are
opened, sizes are looked at before anything is read, and JSON may hold so many bytes and parts that it cannot fill the memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
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
MOST = {CONFIG: 2**20, CODEC: 2**25}  # bytes; a codec of a thousand columns with two hundred levels each has 2**22
MOST_PARTS = 2**19  # lists and objects in a JSON file: each takes many times the memory that its text does
MOST_HEADER = 2**22  # bytes of a safetensors header: forty thousand tensors
_UNSIGNED = "0" * 64  # stands in config.json for its own checksum while that is taken


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
    """Return JSON as it stands in files; halves of characters, which have no UTF-8, as JSON's own escapes."""
    text = json.dumps(to_jsonable(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def check_codec(codec: Any) -> None:
    """Raise `Problem`, before anything is learned, if a codec as JSON would be longer than what can be read back."""
    if (size := len(json_bytes(codec))) > MOST[CODEC]:
        raise Problem(
            f"what the columns hold takes {size:,} bytes to write down, at most {MOST[CODEC]:,} can be read back. "
            "Leave out columns of very many different values."
        )


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file aside, flush it to the disk and rename it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _flush(aside, data)
        os.replace(aside, path)
    finally:
        remove(aside)


def sweep(folder: Path) -> None:
    """Remove the half files of a run that was killed while it wrote; nobody else may be writing there."""
    for aside in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", aside.name):
            remove(aside)


def _flush(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def read_json(path: Path) -> Any:
    """Read JSON; raise `Problem` with the file's name if it is missing or broken."""
    return _parsed(path, read_bytes(path, most=MOST.get(path.name, MOST[CODEC])))


def read_bytes(path: Path, *, most: int | None = None) -> bytes:
    """Read a plain file; raise `Problem` with its name if that fails.

    Links are not followed, since they may lead anywhere; devices and pipes are not read, since they may never end.

    Arguments:
        path: The file.
        most: Bytes that it may have; by default as many as the machine has memory.
    """
    most = most or _memory()
    try:
        if path.is_symlink():
            raise Problem(f"{path} cannot be read (it is a link). Put the file itself in its place.")
        with open(os.open(path, _AS_IT_IS), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Problem(f"{path} cannot be read (it is no plain file). Restore the file.")
            if found.st_size > most:
                raise Problem(f"{path} is too large ({found.st_size:,} bytes, at most {most:,}). Restore the file.")
            return file.read(found.st_size)
    except FileNotFoundError:
        raise Problem(f"{path} does not exist. Give a folder that `genlearn fit` or save() wrote.") from None
    except MemoryError:
        raise _too_large(path) from None
    except OSError as e:
        raise Problem(f"{path} cannot be read ({e.strerror}). Restore it, or fit again.") from None


_AS_IT_IS = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def _memory() -> int:
    """Return the bytes of the machine's memory, or a number that no file reaches where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**62


def _parsed(path: Path, data: bytes) -> Any:
    if data.count(b"[") + data.count(b"{") > MOST_PARTS:
        raise _damaged(path, f"more than {MOST_PARTS:,} lists and objects")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refused)
    except (
        ValueError,
        TypeError,
        RecursionError,
    ) as e:  # text that is not UTF-8 or not JSON, absurd numbers, endless nesting
        raise _damaged(path, f"{type(e).__name__}: not JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return float(found["$float"]) if found.keys() == {"$float"} else found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _too_large(path: Path) -> Problem:
    return Problem(f"{path} is too large for the memory. Fit again or restore the file.")


def _damaged(path: Path, how: str) -> Problem:
    return Problem(f"{path} is damaged ({how}). Fit again or restore the file.")


def tensor_bytes(tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> bytes:
    """Return tensors, and texts about them, as they stand in files."""
    from safetensors.torch import save

    return save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, about)


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if int.from_bytes(data[:8], "little") > MOST_HEADER:
        raise _damaged(path, f"a header of more than {MOST_HEADER:,} bytes")
    try:
        return load(data)
    except MemoryError:
        raise _too_large(path) from None
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as e:
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
        Problem: If the folder cannot be written, or holds more text than `load` reads.
    """
    versions = {"genlearn": __version__, "torch": str(torch.__version__), "numpy": np.__version__}
    files = {CODEC: json_bytes(codec), WEIGHTS: tensor_bytes(tensors)}
    config = {"format": FORMAT, "versions": versions, **spec, "modality": modality}
    sealed = _sealed(config, files)
    for name, data in ((CONFIG, sealed), (CODEC, files[CODEC])):
        if len(data) > MOST[name]:
            raise Problem(
                f"{path / name} would have {len(data):,} bytes, at most {MOST[name]:,} can be read back. "
                "Leave out columns of very many different values."
            )
    asides = {name: _aside(path, name, _checksum(data)) for name, data in files.items()}
    fresh = [aside for aside in asides.values() if not aside.exists()]
    try:
        for name, data in files.items():
            _flush(asides[name], data)
        write_bytes(path / CONFIG, sealed)
        fresh.clear()  # from here on the folder holds the new model, and needs them
        for name, aside in asides.items():
            os.replace(aside, path / name)
        write_bytes(path / CARD, _card(config, card).encode("utf-8", "backslashreplace"))
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
    data = read_bytes(path / CONFIG, most=MOST[CONFIG])
    config = _parsed(path / CONFIG, data)
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise Problem(f"{path / CONFIG} is not of a genlearn model. Give a folder that `genlearn fit` or save() wrote.")
    if config["format"] != FORMAT:
        raise Problem(f"{path} has format {config['format']}, this genlearn reads {FORMAT}. Install the matching one.")
    kinds = {"model": str, "modality": str} | dict.fromkeys(("params", "state", "versions", "bytes", "sha256"), dict)
    if wrong := [k for k, kind in kinds.items() if not isinstance(config.get(k), kind)]:
        raise _damaged(path / CONFIG, f"its {wrong[0]} is missing or of the wrong type")
    checksums = {name: str(config["sha256"].get(name)) for name in (CONFIG, CODEC, WEIGHTS)}
    if not all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums.values()):
        raise _damaged(path / CONFIG, "its checksums are none")
    if data != _signed(data, checksums[CONFIG]):
        raise _damaged(path / CONFIG, "its checksum does not fit")
    text, weights = (_checked_bytes(path, n, config["bytes"].get(n), checksums[n]) for n in (CODEC, WEIGHTS))
    codec = _parsed(path / CODEC, text)
    if not isinstance(codec, dict):
        raise _damaged(path / CODEC, "not an object")
    return config, config["modality"], codec, _tensors(path / WEIGHTS, weights)


def remove(path: Path) -> None:
    """Delete a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink(missing_ok=True)


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sealed(config: dict[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return the text of config.json with sizes and checksums of the other files, and its own."""
    sizes = {name: len(data) for name, data in files.items()}
    checksums = {name: _checksum(data) for name, data in files.items()}
    return _signed(json_bytes({**config, "bytes": sizes, "sha256": {**checksums, CONFIG: _UNSIGNED}}))


def _signed(text: bytes, last: str = _UNSIGNED) -> bytes:
    """Return the text of config.json with its own checksum where `last` stands: the checksum of all the rest of it."""
    before, _, after = text.rpartition(last.encode())
    return before + _checksum(before + _UNSIGNED.encode() + after).encode() + after


def _aside(path: Path, name: str, checksum: str) -> Path:
    return path / f".{name}.{checksum[:16]}"


def _checked_bytes(path: Path, name: str, size: Any, checksum: str) -> bytes:
    """Return the file of this size and checksum, under its own name or, after a kill, still under the one that it was written by."""
    aside, own, most = _aside(path, name, checksum), path / name, MOST.get(name)
    if aside.is_file() and aside.stat().st_size == size:
        data = read_bytes(aside, most=most)
        if _checksum(data) == checksum:
            return data
    if own.is_file() and own.stat().st_size != size:
        raise _damaged(own, f"it has {own.stat().st_size:,} bytes, not {size}")
    data = read_bytes(own, most=most)
    if _checksum(data) != checksum:
        raise _damaged(own, "its checksum does not fit")
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
