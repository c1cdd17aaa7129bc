"""Zip files: read in place, after a look at what their directory says; no name of theirs ever becomes a file."""

from __future__ import annotations

import re
import stat
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import Problem
from . import memory
from .raw import refuse_bomb


def checked_zip(file: IO[bytes] | Path, size: int, where: str) -> zipfile.ZipFile:
    """Open a zip file of `size` bytes.

    Errors:
        Problem: If it is damaged, locked, a bomb, or holds names that lead out of it, links, devices or one name twice.
    """
    try:
        archive = zipfile.ZipFile(file)
    except Exception as e:  # as below
        raise Problem(f"{where} is damaged ({e}). Write it again.") from None
    entries = archive.infolist()
    if any(entry.flag_bits & 1 for entry in entries):
        raise Problem(f"{where} is locked with a password. Unpack it and give the folder.")
    refuse_bomb(size, sum(entry.file_size for entry in entries), where)
    for entry in entries:
        _check(entry, where)
    name, times = Counter(entry.filename for entry in entries).most_common(1)[0] if entries else ("", 1)
    if times > 1:
        raise Problem(f"{where} holds {times} files named {name}. Pack it again, with one of them.")
    return archive


def zip_files(path: Path, where: str) -> list[tuple[str, Callable[[], bytes]]]:
    """Return the files of a zip in the order of their names: name, and how to get the bytes."""
    archive = checked_zip(path, path.stat().st_size, where)

    def reader(entry: zipfile.ZipInfo) -> Callable[[], bytes]:
        return lambda: read_entry(archive, entry, where)

    return sorted((entry.filename, reader(entry)) for entry in archive.infolist() if not entry.is_dir())


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> Any:
    """Return the bytes of one file of a zip, no more of them than its directory says: a view of the disk if they are too many.

    Errors:
        Problem: If they are damaged, or packed in an unknown way.
    """
    try:
        if memory.fits(entry.file_size):
            return archive.read(entry)
        with archive.open(entry) as file:
            return memory.held(file, entry.file_size)
    except Exception as e:  # of a broken file, the unpackers raise anything
        raise Problem(f"{where}: {entry.filename} is damaged ({e}). Write it again.") from None


def _check(entry: zipfile.ZipInfo, where: str) -> None:
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or re.match("[a-z]:", name, re.I) or ".." in PurePosixPath(name).parts:
        raise Problem(f"{where} holds {entry.filename}, a path that leads out of it. Pack it again, with plain names.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise Problem(f"{where} holds {entry.filename}, which is {what}. Pack it again, with the files themselves.")
