"""What is done to a good model folder: its values, its bytes, what lies in a file's place. Checksums are made right again."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from genlearn import store

from . import mutations

Deed = Callable[[Path], object]
Idea = tuple[str, str, Deed]
CONFIG, CODEC, WEIGHTS = mutations.NAMES
ESCAPE = "\x1b]0;mine\x07\x1b[2J\n"


class Trap:
    """Ends the process when it is unpickled."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def config(change: Callable[[Any], object], *, sealed: bool = True) -> Deed:
    """Change config.json, then seal it: sizes and checksums made right; else only its own checksum."""

    def do(folder: Path) -> None:
        files = mutations.read(folder)
        spec = json.loads(files[CONFIG])
        change(spec)
        if sealed and isinstance(spec.get("sha256"), dict) and spec.get("bytes"):
            data = mutations.signed(files, spec)[CONFIG]
        else:
            data = store._signed(store.json_bytes(spec), _own(spec))
        (folder / CONFIG).write_bytes(data)

    return do


def _own(spec: Any) -> str:
    """Return the checksum of config.json itself, as it stands in it."""
    sums = spec.get("sha256")
    return str(sums.get(CONFIG, "no checksum")) if isinstance(sums, dict) else "no checksum"


def codec(change: Callable[[Any], object]) -> Deed:
    """Change codec.json, then sign."""

    def do(folder: Path) -> None:
        spec = json.loads((folder / CODEC).read_bytes())
        change(spec)
        content(CODEC, json.dumps(spec).encode())(folder)

    return do


def content(name: str, data: bytes) -> Deed:
    """Put other bytes into a file, then sign (config.json itself is not signed)."""

    def do(folder: Path) -> None:
        (folder / name).write_bytes(data)
        if name != CONFIG:
            (folder / CONFIG).write_bytes(mutations.signed(mutations.read(folder))[CONFIG])

    return do


def replaced(name: str, make: Callable[[Path], object]) -> Deed:
    """Put something else than a file in a file's place."""

    def do(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return do


def outside(name: str, *, hard: bool = False) -> Deed:
    """Move a file out of the folder, and leave a link to it."""

    def do(folder: Path) -> None:
        moved = folder.with_name(f"{folder.name}-{name}")
        (folder / name).rename(moved)
        (os.link if hard else os.symlink)(moved, folder / name)

    return do


def aside(name: str, make: Callable[[Path], object]) -> Deed:
    """Put something where a killed save leaves a file, and lose the file itself."""

    def do(folder: Path) -> None:
        checksum = json.loads((folder / CONFIG).read_bytes())["sha256"][name]
        (folder / name).unlink()
        make(store._aside(folder, name, checksum))

    return do


def bind(path: Path) -> None:
    """Make a socket; its name must be short, so it is made elsewhere and moved."""
    with socket.socket(socket.AF_UNIX) as s:
        short = f"/tmp/genlearn-{os.getpid()}"
        s.bind(short)
        os.rename(short, path)


def sparse(size: int) -> Callable[[Path], None]:
    """Make a file of zeros that takes no room."""

    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def header(spec: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a safetensors file with this header."""
    text = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    """Return the description of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def zipped(data: bytes) -> bytes:
    """Return a zip archive with one file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("config.json", data)
    return out.getvalue()


def tarred(data: bytes) -> bytes:
    """Return a tar archive with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("../../config.json")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def torch_saved() -> bytes:
    """Return what `torch.save` makes of the trap."""
    out = io.BytesIO()
    torch.save(Trap(), out)
    return out.getvalue()


def checksum(name: str, what: Any, *, folder: bool = False) -> Deed:
    """Let config.json ask for a checksum that is none, and sign it."""

    def do(place: Path) -> None:
        spec = json.loads((place / CONFIG).read_bytes())
        spec["sha256"] = {**spec["sha256"], name: what, CONFIG: "0" * 64}
        (place / CONFIG).write_bytes(store._signed(json.dumps(spec).encode()))
        if folder:
            (place / f".{CODEC}.").mkdir()

    return do
